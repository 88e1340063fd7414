"""Bootloaders of disks, ISOs and sticks."""
