"""Open, create, change and verify image caches."""
