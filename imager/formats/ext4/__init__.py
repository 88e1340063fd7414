"""ext4: planned, made, read back."""
