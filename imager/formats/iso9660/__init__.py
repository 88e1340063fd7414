"""ISO 9660 with Joliet and Rock Ridge: planned, and read from any image."""
