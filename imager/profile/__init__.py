"""The profile of a build: model, YAML, merging, validation and reference."""
