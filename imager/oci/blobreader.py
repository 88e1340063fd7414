"""Reads the bytes of a blob as request bodies, and hashes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from imager.content.extents import Content
from imager.content.reading import iterate_bytes
from imager.oci.errors import InvalidImageError
from imager.oci.manifest import Descriptor
from imager.oci.transport import Stream
from imager.support.workers import Work


class BlobReader:
    """The bytes of a blob, readable in several requests.

    Each byte is hashed, and counted by `work`, when it is first read; `reached` is the number of
    bytes read so far. The last byte is withheld when the blob does not match its digest.
    """

    def __init__(self, blob: Descriptor, content: Content, work: Work) -> None:
        self.blob = blob
        self._content = content
        self._work = work
        self._hash = hashlib.sha256()
        self.reached = 0

    def body(self, start: int, end: int) -> Stream | None:
        """Return the bytes from `start` up to `end`, or None for an empty range."""
        return _Part(self, start, end) if start < end else None

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from `start` up to `end`; all bytes before `start` have been read before.

        Raises InputError when the blob is too short or does not match its digest, CancelledError
        when the work is cancelled.
        """
        for data in iterate_bytes(self._content.slice(start, end - start)):
            self._work.check()
            self._count(data[max(self.reached - start, 0) :])
            start += len(data)
            yield data

    def _count(self, new: bytes) -> None:
        self._hash.update(new)
        self.reached += len(new)
        if self.reached == self.blob.size and self._hash.hexdigest() != self.blob.digest.hex:
            raise InvalidImageError(
                f"blob {self.blob.digest} does not match its digest: "
                f"the data has sha256:{self._hash.hexdigest()}",
                hint="it is damaged or was changed: copy or create it again",
            )
        self._work.advance(len(new))


@dataclass(frozen=True, slots=True)
class _Part:
    reader: BlobReader
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    def __iter__(self) -> Iterator[bytes]:
        return self.reader.pieces(self.start, self.end)
