"""The lock of a build: its inputs by digest, in a file, compared with what is found."""
