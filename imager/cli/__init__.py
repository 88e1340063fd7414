"""The command line: options to a profile, errors to exit codes. No logic."""
