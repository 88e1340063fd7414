"""FAT: planned, and read from any image."""
