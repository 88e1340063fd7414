"""The image cache: opened from anywhere, created, changed, verified."""
