"""Find, fetch and check kernel, initramfs, loader and stub, and build UKIs from them."""
