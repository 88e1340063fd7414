"""System extensions, rebuilt into the initramfs."""
