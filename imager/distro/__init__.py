"""The small Debian behind `assets fetch`: packages, initramfs, the node."""
