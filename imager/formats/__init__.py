"""On-disk formats: planned from a tree, read back from any image; nothing of Talos."""
