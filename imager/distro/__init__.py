"""The minimal Debian that `assets fetch` builds: packages, initramfs, the node."""
