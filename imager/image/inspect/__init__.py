"""Look into any image: what is in it, where, how it boots, and what of it is damaged."""
