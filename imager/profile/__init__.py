"""The frozen Profile: model, YAML, merge, validation, version rules."""
