"""Partition tables: planned, read, edited."""
