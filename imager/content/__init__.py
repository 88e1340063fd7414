"""The content engine: extents, file trees, and copying each byte once."""
