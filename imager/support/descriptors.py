"""Open files as descriptors that are closed at the end of a block."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Flags to open a file for writing, creating it if it is missing; symbolic links are not followed.
MADE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """Yield a descriptor of `path` that child processes do not inherit; raises OSError."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
