"""Talos machine configurations, as far as the image cache goes: read, checked, written."""
