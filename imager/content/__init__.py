"""The engine: contents as extents, trees of them, and copying each byte once."""
