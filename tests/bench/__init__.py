"""Benchmarks of whole builds: `python -m tests.bench` runs them and prints a table."""
