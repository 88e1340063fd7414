"""The command line: convert options to a profile and errors to exit codes, without other logic."""
