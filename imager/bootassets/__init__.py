"""Kernel, initramfs, loader and stub: found, fetched, checked, joined into a UKI."""
