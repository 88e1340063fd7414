"""FAT: plan volumes, and read any image."""
