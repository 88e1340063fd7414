"""Outputs: what stands where on a medium."""
