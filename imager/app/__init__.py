"""Implement the program's use cases, one per module, with the layers below."""
