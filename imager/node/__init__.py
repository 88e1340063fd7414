"""A machine's own image cache: finds, copies, serves and reports it."""
