"""The blob store: a folder of blobs named by digest, which concurrent runs can share.

It is what `--layer-cache` names, and the blobs of a flat cache while a node copies them.

    sha256-<hex>             a blob, verified on write and on read
    .sha256-<hex>.partial    a blob being fetched, locked by the run that fetches it

A verified blob gets a modification time derived from its digest. Writing to the file changes that
time, so a file with the expected size and time is not hashed again.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from imager.cache.contents import BlobSource
from imager.cache.resume import OF_ONE_BLOB, Landing, resume_blob
from imager.content.copier import write_errors
from imager.content.extents import Content, FileRange
from imager.oci.digest import Digest
from imager.oci.errors import WrongBytesError
from imager.oci.manifest import Descriptor
from imager.oci.sinks import Discard
from imager.oci.source import BlobCheck, copy_blob
from imager.support.descriptors import MADE, opened
from imager.support.errors import HostError
from imager.support.folders import placed_in
from imager.support.meter import Kept
from imager.support.workers import Work

_HINT = "choose another folder with --layer-cache"
_POLL_SECONDS = 0.1
_SECOND = 1_000_000_000
# 28 bits of seconds: a time from 1970 to 1978.
_TIME_DIGITS = 7


@dataclass(frozen=True, slots=True)
class BlobStore:
    """The blob store in `folder`."""

    folder: Path

    @classmethod
    def open(cls, folder: Path) -> BlobStore:
        """Open the store in `folder`, creating the folder if it is missing.

        Raises HostError if the folder cannot be created or is not writable.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HostError(
                f"cannot create the layer cache {folder}: {error.strerror}", hint=_HINT
            ) from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise HostError(
                f"the layer cache {folder} is not writable for user {os.geteuid()}", hint=_HINT
            )
        return cls(folder)

    def path(self, blob: Descriptor) -> Path:
        """Return the path of the blob, whether it exists or not."""
        return self.folder / blob.digest.file_name

    def has(self, blob: Descriptor) -> bool:
        """Whether a file of the blob's size exists; its digest is not checked."""
        status = _status(self.path(blob))
        return status is not None and status.st_size == blob.size

    def to_come(self, blob: Descriptor) -> int:
        """Return how many bytes of the blob are still to be fetched; digests are not checked."""
        if self.has(blob):
            return 0
        status = _status(self._partial(blob))
        return max(blob.size - (status.st_size if status else 0), 0)

    def read(self, blob: Descriptor) -> bytes | None:
        """Return the bytes of a small blob, or None if it is missing or damaged."""
        if not self.has(blob):
            return None
        try:
            data = self.path(blob).read_bytes()
        except OSError:
            return None
        return data if Digest.of(data) == blob.digest else None

    def get(self, wanted: BlobSource, work: Work) -> Path:
        """Return the verified file of the blob, fetching it if it is missing or damaged.

        `work` is advanced by the bytes of the blob, with `Kept` for those fetched earlier. Waits
        while another run fetches the blob. Raises as `resume_blob`.
        """
        path = self.path(wanted.blob)
        while not self._is_good(wanted.blob):
            partial = self._partial(wanted.blob)
            with placed_in(self.folder), write_errors(), opened(partial, MADE) as descriptor:
                if _is_locked(partial, descriptor, work):
                    _fill(partial, descriptor, wanted, work)
                    partial.replace(path)
                    return path
        work.advance(Kept(wanted.blob.size))
        return path

    def _partial(self, blob: Descriptor) -> Path:
        return self.folder / f".{blob.digest.file_name}.partial"

    def _is_good(self, blob: Descriptor) -> bool:
        path, stamp = self.path(blob), _stamp(blob)
        status = _status(path)
        if status is None:
            return False
        if status.st_size == blob.size and status.st_mtime_ns == stamp:
            return True
        check = BlobCheck(blob, Discard(), where=str(path), error=WrongBytesError)
        try:
            copy_blob(Content.of_source(FileRange(path), status.st_size), check)
        except OF_ONE_BLOB:
            path.unlink(missing_ok=True)
            return False
        with suppress(OSError):  # another user's file: hash it every time
            os.utime(path, ns=(stamp, stamp))
        return True


def _is_locked(path: Path, descriptor: int, work: Work) -> bool:
    """Wait for the lock of a partial file; return False if another run has replaced the file."""
    while not _lock(descriptor):
        work.check()
        time.sleep(_POLL_SECONDS)
    status = _status(path)
    return status is not None and os.path.samestat(status, os.fstat(descriptor))


def _fill(path: Path, descriptor: int, wanted: BlobSource, work: Work) -> None:
    """Resume the download, verify the file, and set the time that marks it as verified."""
    blob = wanted.blob
    known = os.fstat(descriptor).st_size

    def note(count: int, _new: int) -> None:
        if not count:
            os.ftruncate(descriptor, 0)

    resume_blob(wanted, Landing(path, descriptor, 0, known, note), work)
    os.ftruncate(descriptor, blob.size)
    os.fsync(descriptor)
    os.utime(descriptor, ns=(_stamp(blob), _stamp(blob)))


def _stamp(blob: Descriptor) -> int:
    """Return the time that marks a blob as verified, in nanoseconds since 1970."""
    return int(blob.digest.hex[:_TIME_DIGITS], 16) * _SECOND


def _status(path: Path) -> os.stat_result | None:
    """Return the status of a regular file, or None if it is missing or not a regular file."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # The file system has no locks. Concurrent runs may corrupt the file; the digest shows it.
        return True
    return True
