"""The image cache: its tree, opening it from any source, creating and packing it."""
