"""On-disk formats: each is planned as a Content and read back. Nothing here knows Talos."""
