"""Sources of images: a protocol that registries, layouts and archives implement."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Protocol

from imager.content.extents import Content
from imager.content.reading import iterate_bytes
from imager.oci.digest import Digest
from imager.oci.errors import InvalidImageError
from imager.oci.manifest import Descriptor, RawManifest
from imager.support.errors import ImagerError


class ByteSink(Protocol):
    """A destination for fetched bytes: a file opened for binary writing, a hash, a pipe."""

    def write(self, data: bytes, /) -> object:
        """Accept all of `data`."""


class ImageSource(Protocol):
    """One image, or one repository of images, in a registry or on this machine."""

    def root(self) -> RawManifest:
        """Return the manifest or index that the source was opened for.

        Raises NotFoundError when it is missing, and as `manifest`.
        """

    def manifest(self, target: str | Digest) -> RawManifest:
        """Return a manifest or index by tag or digest, its bytes checked against the digest.

        Raises NotFoundError when it is missing, InputError or UnsupportedError when it is invalid,
        DependencyError when the source fails or sends other bytes.
        """

    def blob_content(self, blob: Descriptor) -> Content | None:
        """Return the blob as content on disk, of the right size; None when it is remote.

        The digest is not checked here but while the content is copied. Raises NotFoundError when
        the blob is missing, InputError when its size differs. A registry is only asked for foreign
        layers, as it may lack them.
        """

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about the image, one sentence each."""

    def fetch_blob(self, blob: Descriptor, sink: ByteSink, *, have: Iterable[bytes] = ()) -> None:
        """Write the blob to `sink` in bounded pieces, checking its size and digest.

        `have` holds the blob's first bytes, in pieces, from an earlier attempt. They count for size
        and digest but are not written; `sink` gets the rest, and never more than `blob.size` bytes
        in all. The bytes, including those of `have`, are valid only when this returns.

        Raises as `manifest`. For bytes that are not the blob, raises WrongBytesError when the
        source is a registry and InputError when it is local.
        """


class BlobCheck:
    """Passes a blob's bytes to a sink and checks them against its descriptor.

    `size` is the number of known bytes, which is the position of the next one. `error` is the class
    to raise for a mismatch: InvalidImageError for a user's file, WrongBytesError for a registry.
    """

    def __init__(
        self, blob: Descriptor, sink: ByteSink, *, where: str, error: type[ImagerError]
    ) -> None:
        self.blob = blob
        self.where = where
        self._sink = sink
        self._error = error
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def missing(self) -> int:
        """The number of missing bytes."""
        return self.blob.size - self.size

    def skip(self, data: bytes) -> None:
        """Count `data` as bytes that the sink already has; raises as `write`."""
        if len(data) > self.missing:
            raise self._error(
                f"{self.where} is longer than the {self.blob.size} bytes of its descriptor"
            )
        self._hash.update(data)
        self.size += len(data)

    def write(self, data: bytes) -> None:
        """Pass `data` to the sink; raises the error when the blob exceeds its size."""
        self.skip(data)
        self._sink.write(data)

    def finish(self) -> None:
        """Check the whole blob; raises the error when it is too short or its digest differs."""
        if self.missing:
            raise self._error(f"{self.where} is truncated: {self.size} of {self.blob.size} bytes")
        digest = self._hash.hexdigest()
        if digest != self.blob.digest.hex:
            raise self._error(
                f"{self.where} does not match its digest: "
                f"expected {self.blob.digest}, got sha256:{digest}",
                hint="the data is damaged or was changed: fetch or create it again",
            )


def copy_blob(content: Content, check: BlobCheck, *, have: Iterable[bytes] = ()) -> None:
    """Pass `have` and the rest of `content` to `check`, and finish it.

    Raises as `check` does, and as `iterate_content`.
    """
    for data in have:
        check.skip(data)
    for data in iterate_bytes(content.slice(check.size, content.size - check.size)):
        check.write(data)
    check.finish()


class StoredImage(ABC):
    """An ImageSource on this machine, whose blobs are available as contents."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Empty: the image is kept byte for byte."""
        return ()

    @property
    @abstractmethod
    def place(self) -> str:
        """The folder, archive or cache that contains the image, for messages."""

    @abstractmethod
    def blob_content(self, blob: Descriptor) -> Content:
        """Return the location of the blob; see ImageSource."""

    def fetch_blob(self, blob: Descriptor, sink: ByteSink, *, have: Iterable[bytes] = ()) -> None:
        """Write the blob to `sink` and check it; see ImageSource."""
        where = f"{self.place}: blob {blob.digest}"
        check = BlobCheck(blob, sink, where=where, error=InvalidImageError)
        copy_blob(self.blob_content(blob), check, have=have)
