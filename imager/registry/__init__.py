"""Image caches served as a registry over HTTP."""
