"""What comes with an output: bills of materials, provenance, checksums and signatures."""
