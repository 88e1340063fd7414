"""Partition tables: plan, read and edit them."""
