"""XFS: planned and made."""
