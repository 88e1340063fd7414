"""Outputs: the layout of disks, ISOs and USB sticks."""
