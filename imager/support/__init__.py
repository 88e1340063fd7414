"""Shared support code: errors, units, atomic files, progress."""
