"""A machine's own image cache: found, copied, served and reported."""
