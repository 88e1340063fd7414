"""Sources of images: one protocol for registries, layouts and archives."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Protocol

from imager.content.extents import Content
from imager.content.reading import iterate_bytes
from imager.oci.digest import Digest
from imager.oci.manifest import Descriptor, RawManifest
from imager.support.errors import ImagerError, InputError


class ByteSink(Protocol):
    """Where fetched bytes go: a file opened for binary writing, a hash, a pipe."""

    def write(self, data: bytes, /) -> object:
        """Take `data`, all of it."""


class ImageSource(Protocol):
    """One image, or one repository of images, in a registry or on this machine."""

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
        """Return the blob as content on disk, of the right size; None when it is remote.

        The digest is not checked: it is hashed beside the copy. Raises NotFoundError when it is
        missing, InputError when its size is another one. A registry is only asked for foreign
        layers, since it need not have them.
        """

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about the image, a sentence each."""

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
            raise self._error(
                f"{self.where} is longer than the {self.blob.size} bytes of its descriptor"
            )
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


def copy_blob(content: Content, check: BlobCheck, *, have: Iterable[bytes] = ()) -> None:
    """Give `check` the pieces of `have` and what follows them in `content`; finish it.

    Raises as `check` does, and as `iterate_content`.
    """
    for data in have:
        check.skip(data)
    for data in iterate_bytes(content.slice(check.size, content.size - check.size)):
        check.write(data)
    check.finish()


class StoredImage(ABC):
    """An ImageSource on this machine, whose blobs are contents."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """None: the image is kept byte by byte."""
        return ()

    @property
    @abstractmethod
    def place(self) -> str:
        """What messages call the folder, archive or cache that the image is in."""

    @abstractmethod
    def blob_content(self, blob: Descriptor) -> Content:
        """Return where the blob is; see ImageSource."""

    def fetch_blob(self, blob: Descriptor, sink: ByteSink, *, have: Iterable[bytes] = ()) -> None:
        """Write the blob to `sink`, checked; see ImageSource."""
        where = f"{self.place}: blob {blob.digest}"
        check = BlobCheck(blob, sink, where=where, error=InputError)
        copy_blob(self.blob_content(blob), check, have=have)
