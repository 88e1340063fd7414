"""Compressed forms of a content, made in one pass on all cores."""
