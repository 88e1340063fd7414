"""OCI references, registries, layouts and archives."""
