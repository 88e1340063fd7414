"""Which images manifests, charts and configurations name."""
