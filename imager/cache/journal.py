"""What has come of each blob, in a file: a run that was killed is taken up from there.

The file has a counter for each blob, 64 bits, little-endian. A counter is written after the bytes
that it counts, so after a kill it never tells too much; after a power failure it may, and the
digest of the blob tells that.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from imager.oci.digest import Digest

_COUNTER = struct.Struct("<Q")


class Journal:
    """The counters of blobs; several threads may write to those of different blobs."""

    def __init__(self, descriptor: int, digests: Iterable[Digest]) -> None:
        self._descriptor = descriptor
        self._places = {digest: _COUNTER.size * n for n, digest in enumerate(sorted(digests))}

    def known(self, digest: Digest) -> int:
        """Return how many bytes of the blob are at its place."""
        data = os.pread(self._descriptor, _COUNTER.size, self._places[digest])
        return int(_COUNTER.unpack(data)[0]) if len(data) == _COUNTER.size else 0

    def record(self, digest: Digest, count: int) -> None:
        """Take down that the first `count` bytes of the blob are at its place."""
        os.pwrite(self._descriptor, _COUNTER.pack(count), self._places[digest])


@contextmanager
def open_journal(path: Path, digests: Iterable[Digest]) -> Iterator[Journal]:
    """Yield the journal at `path`, made if need be; it must have been of the same blobs."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        yield Journal(descriptor, digests)
    finally:
        os.close(descriptor)


def recorded(path: Path) -> int:
    """Return how many bytes the journal at `path` tells of; 0 without one."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return 0
    whole = len(data) // _COUNTER.size * _COUNTER.size
    return sum(count for (count,) in _COUNTER.iter_unpack(data[:whole]))
