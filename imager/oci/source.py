"""What an image can be read from: one protocol for registries, layouts and archives."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from imager.content.extents import Content, FileRange
from imager.oci.digest import Digest
from imager.oci.documents import MAX_DOCUMENT
from imager.oci.manifest import Descriptor, RawManifest
from imager.support.errors import DependencyError, ImagerError, InputError, OutputError
from imager.support.units import MIB, format_size

CHUNK = MIB


class NotFoundError(InputError):
    """The source answers, and does not have the manifest or blob."""


class WrongBytesError(DependencyError):
    """A registry's bytes, or those one had before, are not the blob: throw all of them away."""


class ByteSink(Protocol):
    """Where fetched bytes go: a file opened for binary writing, a hash, a pipe."""

    def write(self, data: bytes, /) -> object:
        """Take `data`, all of it."""


class ImageSource(Protocol):
    """One image, or one repository of them, wherever it lies."""

    def root(self) -> RawManifest:
        """Return the manifest or index that was asked for when the source was opened.

        Raises NotFoundError when it is not there, and as `manifest`.
        """

    def manifest(self, target: str | Digest) -> RawManifest:
        """Return a manifest or index by tag or digest, its bytes checked against the digest.

        Raises NotFoundError when it is not there, InputError or UnsupportedError when it is not
        a valid one, DependencyError when the source fails or sends other bytes.
        """

    def blob_content(self, blob: Descriptor) -> Content | None:
        """Return where the blob lies on disk, of the right size; None when it is remote.

        The digest is not checked: who copies it hashes it beside the copy. Raises NotFoundError
        when it is not there, InputError when its size is another one. A registry is asked for
        foreign layers alone, since it need not have them.
        """

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of the image, a sentence each."""

    def fetch_blob(self, blob: Descriptor, sink: ByteSink, *, have: Iterable[bytes] = ()) -> None:
        """Write the blob to `sink` in bounded pieces, checking its size and digest.

        `have` is what an earlier attempt left: the blob's first bytes, in pieces. They count for
        size and digest and are not written; `sink` gets the rest. It never gets more than
        `blob.size` bytes in all; they are good, and those of `have`, only when this returns.

        Raises as `manifest`. For bytes that are not the blob, WrongBytesError when the source is
        a registry and InputError when it is local.
        """


class BlobCheck:
    """Passes a blob's bytes on to a sink and checks them against its descriptor.

    `error` is the class of a mismatch: InputError for a user's file, WrongBytesError for a
    registry.
    """

    def __init__(
        self, blob: Descriptor, sink: ByteSink, *, where: str, error: type[ImagerError]
    ) -> None:
        self.blob = blob
        self.where = where
        self._sink = sink
        self._error = error
        self._hash = hashlib.sha256()
        self._size = 0

    @property
    def size(self) -> int:
        """How many of the blob's bytes are known: the position of the next one."""
        return self._size

    @property
    def missing(self) -> int:
        """How many bytes the blob still needs."""
        return self.blob.size - self._size

    def skip(self, data: bytes) -> None:
        """Count `data` as bytes that the sink has; raises as `write`."""
        if len(data) > self.missing:
            raise self._error(f"{self.where} is longer than the {self.blob.size} bytes promised")
        self._hash.update(data)
        self._size += len(data)

    def write(self, data: bytes) -> None:
        """Pass `data` on; raises the error when there is more than the descriptor says."""
        self.skip(data)
        self._sink.write(data)

    def finish(self) -> None:
        """Check what was written; raises the error when it is too short or not the same."""
        if self.missing:
            raise self._error(f"{self.where} is truncated: {self._size} of {self.blob.size} bytes")
        digest = self._hash.hexdigest()
        if digest != self.blob.digest.hex:
            raise self._error(
                f"{self.where} is not what its digest says: "
                f"expected {self.blob.digest}, got sha256:{digest}",
                hint="the data is damaged or was changed: fetch or make it again",
            )


@dataclass(frozen=True, slots=True)
class LocalRange:
    """`size` bytes of a local file from byte `offset` on: a blob where it lies."""

    path: Path
    offset: int
    size: int

    def content(self) -> Content:
        """Return the bytes as content, without reading them."""
        return Content.of_source(FileRange(self.path, self.offset), self.size)

    def of_size(self, blob: Descriptor) -> LocalRange:
        """Return this range; raises InputError when it does not have the size of `blob`."""
        if self.size != blob.size:
            raise InputError(f"{self.path} has {self.size} bytes, its descriptor says {blob.size}")
        return self

    def document(self, where: str) -> bytes:
        """Return the bytes of a small file; raises InputError when it is larger than 4 MiB."""
        if self.size > MAX_DOCUMENT:
            raise InputError(f"{where} is larger than {format_size(MAX_DOCUMENT)}")
        return b"".join(self.pieces())

    def copy_blob(self, check: BlobCheck, *, have: Iterable[bytes]) -> None:
        """Give `check` the pieces of `have` and, from here, what lies behind them; finish it.

        Raises as `copy_to`, and as `check` does.
        """
        for data in have:
            check.skip(data)
        LocalRange(self.path, self.offset + check.size, self.size - check.size).copy_to(check)
        check.finish()

    def copy_to(self, sink: ByteSink) -> None:
        """Write the bytes to `sink` in pieces; what a shorter file lacks is left out.

        Raises OutputError when the file cannot be read.
        """
        for data in self.pieces():
            sink.write(data)

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes in pieces of at most 1 MiB; see `copy_to`."""
        left = self.size
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                while left and (data := file.read(min(CHUNK, left))):
                    left -= len(data)
                    yield data
        except OSError as error:
            raise OutputError(f"cannot read {self.path}: {error.strerror}") from error
