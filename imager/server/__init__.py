"""A cache served as a read-only registry, and what tells others of it."""
