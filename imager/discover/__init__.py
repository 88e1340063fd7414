"""Find the images that manifests, charts and configurations name."""
