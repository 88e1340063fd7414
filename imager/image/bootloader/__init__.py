"""Bootloaders: what a medium boots with."""
