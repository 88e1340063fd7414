"""Record in a file how many bytes of each blob have been received, so that a later run can resume.

The file contains a 64-bit little-endian counter per blob. A counter is written after the bytes that
it counts, so it is never too high after a kill. It may be too high after a power failure; the
blob's digest then does not match.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from imager.oci.digest import Digest
from imager.support.descriptors import MADE, opened

_COUNTER = struct.Struct("<Q")


class Journal:
    """The counters of blobs; threads may update different blobs concurrently."""

    def __init__(self, descriptor: int, digests: Iterable[Digest]) -> None:
        self._descriptor = descriptor
        self._places = {digest: _COUNTER.size * n for n, digest in enumerate(sorted(digests))}

    def known(self, digest: Digest) -> int:
        """Return how many bytes of the blob have been written."""
        data = os.pread(self._descriptor, _COUNTER.size, self._places[digest])
        return int(_COUNTER.unpack(data)[0]) if len(data) == _COUNTER.size else 0

    def record(self, digest: Digest, count: int) -> None:
        """Record that the first `count` bytes of the blob have been written."""
        os.pwrite(self._descriptor, _COUNTER.pack(count), self._places[digest])


@contextmanager
def open_journal(path: Path, digests: Iterable[Digest]) -> Iterator[Journal]:
    """Open or create the journal at `path`; an existing one must be for the same blobs."""
    with opened(path, MADE) as descriptor:
        yield Journal(descriptor, digests)


def recorded(path: Path) -> int:
    """Return the total bytes that the journal at `path` records; 0 if there is no journal."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return 0
    whole = len(data) // _COUNTER.size * _COUNTER.size
    return sum(count for (count,) in _COUNTER.iter_unpack(data[:whole]))
