"""ISO 9660 with Joliet and Rock Ridge: plan images, and read any image."""
