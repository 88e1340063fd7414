"""Files as descriptors, closed when a block ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A file to write that is made unless it is there; a link is not followed.
MADE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """Yield a descriptor of `path`, which other programs do not inherit; raises OSError."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
