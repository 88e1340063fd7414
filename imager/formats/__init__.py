"""On-disk formats: plan volumes from a tree, and read any image. Independent of Talos."""
