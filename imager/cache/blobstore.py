"""The layer cache: a folder of blobs by digest, which any number of runs share.

    sha256-<hex>             a blob, checked when it was written and when it is read
    .sha256-<hex>.partial    one that is being fetched; the run that fetches it holds it locked

A blob's modification time is made from its digest once the blob has been checked. Whoever writes to
the file changes its time, so a file with the right size and time is not hashed again.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from imager.cache.contents import BlobSource
from imager.cache.transfer import OF_ONE_BLOB, BlobPlace
from imager.content.copier import write_error
from imager.content.extents import Content, FileRange
from imager.content.reading import iterate_bytes
from imager.oci.digest import Digest
from imager.oci.manifest import Descriptor
from imager.oci.sinks import Discard, FileSink
from imager.oci.source import BlobCheck, WrongBytesError, copy_blob
from imager.support.atomic import placed_in
from imager.support.errors import HostError
from imager.support.folders import placed_in
from imager.support.meter import Kept
from imager.support.reporter import Advance

_POLL_SECONDS = 0.1
_SECOND = 1_000_000_000
# Any second from 1970 to 1978.
_TIME_DIGITS = 7


@dataclass(frozen=True, slots=True)
class LayerCache:
    """The layer cache in `folder`, which is made if need be."""

    folder: Path

    @classmethod
    def open(cls, folder: Path) -> LayerCache:
        """Return the layer cache in `folder`; raises HostError when it cannot be used."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HostError(
                f"cannot make the layer cache {folder}: {error.strerror}",
                hint="choose another folder with --layer-cache",
            ) from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise HostError(
                f"the layer cache {folder} is not writable for user {os.geteuid()}",
                hint="choose another folder with --layer-cache",
            )
        return cls(folder)

    def path(self, blob: Descriptor) -> Path:
        """Return where the blob is, or would be."""
        return self.folder / blob.digest.file_name

    def has(self, blob: Descriptor) -> bool:
        """Whether a file of the blob's size is there, good or not."""
        status = _status(self.path(blob))
        return status is not None and status.st_size == blob.size

    def to_come(self, blob: Descriptor) -> int:
        """Return how many bytes of the blob are not there yet, good or not."""
        if self.has(blob):
            return 0
        status = _status(self._partial(blob))
        return max(blob.size - (status.st_size if status else 0), 0)

    def read(self, blob: Descriptor) -> bytes | None:
        """Return a small blob, checked; None when it is not there, or not as it should be."""
        if not self.has(blob):
            return None
        try:
            data = self.path(blob).read_bytes()
        except OSError:
            return None
        return data if Digest.of(data) == blob.digest else None

    def get(self, wanted: BlobSource, progress: Advance) -> Path:
        """Return the file of the blob, checked; it is fetched when it is not there.

        A damaged file is replaced. `progress` gets the bytes of the blob, as `Kept` those that do
        not come in this run. While another run fetches the blob, this waits. Raises as
        ImageSource.fetch_blob, HostError when the disk is full.
        """
        path = self.path(wanted.blob)
        while not self._is_good(wanted.blob):
            partial_path = self._partial(wanted.blob)
            with placed_in(self.folder), self._locked(partial_path, progress) as partial:
                if partial is None:
                    continue
                try:
                    partial.fill(wanted, progress)
                    partial.path.replace(path)
                except OSError as error:
                    raise write_error(error) from error
            return path
        progress(Kept(wanted.blob.size))
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
        with suppress(OSError):  # another user's file: it is hashed each time
            os.utime(path, ns=(stamp, stamp))
        return True

    @contextmanager
    def _locked(self, path: Path, progress: Advance) -> Iterator[_Partial | None]:
        """Yield the partial file, locked; None when another run had it and let it go."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise write_error(error) from error
        try:
            while not _lock(descriptor):
                # Asked for nothing, it still raises when the run is stopped.
                progress(0)
                time.sleep(_POLL_SECONDS)
            status = _status(path)
            same = status is not None and os.path.samestat(status, os.fstat(descriptor))
            yield _Partial(path, descriptor) if same else None
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class LayerCacheDelivery:
    """Brings blobs to their places through the layer cache."""

    cache: LayerCache

    def __call__(self, place: BlobPlace, progress: Advance) -> None:
        """Fetch the blob if need be, and put it into its place; raises as `LayerCache.get`.

        A file that is the blob alone becomes a second name of the one in the cache, where that is
        possible. Else the blob is copied, and checked on the way.
        """
        blob = place.source.blob
        counted = _Counted(progress)
        path = self.cache.get(place.source, counted)
        if not _link(path, place):
            try:
                _copy(path, place)
            except OF_ONE_BLOB:
                # Somebody changed it and its time, or the disk did.
                path.unlink(missing_ok=True)
                _copy(self.cache.get(place.source, counted), place)
        progress(Kept(max(blob.size - counted.count, 0)))


class _Counted:
    def __init__(self, progress: Advance) -> None:
        self._progress = progress
        self.count = 0

    def __call__(self, count: int) -> None:
        self.count += count
        self._progress(count)


def _link(path: Path, place: BlobPlace) -> bool:
    """Make the place a second name of `path`; False when it is more than the blob, or cannot be."""
    if place.offset or place.path.stat().st_size != place.source.blob.size:
        return False
    link = place.path.with_name(f"{place.path.name}.link")
    try:
        link.unlink(missing_ok=True)
        link.hardlink_to(path)
        link.replace(place.path)
    except OSError:
        return False
    return True


def _copy(path: Path, place: BlobPlace) -> None:
    blob = place.source.blob
    descriptor = os.open(place.path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        sink = FileSink(descriptor, place.offset, _unheard)
        check = BlobCheck(blob, sink, where=str(path), error=WrongBytesError)
        copy_blob(Content.of_source(FileRange(path), blob.size), check)
    finally:
        os.close(descriptor)


def _unheard(_count: int) -> None:
    """Tell nobody: a copy within this machine is told when it is whole."""


@dataclass(frozen=True, slots=True)
class _Partial:
    """A blob's file while it is being fetched."""

    path: Path
    descriptor: int

    def fill(self, wanted: BlobSource, progress: Advance) -> None:
        """Complete the file from what is in it, check it, and give it the time that says so."""
        blob = wanted.blob
        known = min(os.fstat(self.descriptor).st_size, blob.size)
        have = iterate_bytes(Content.of_source(FileRange(self.path), known))
        if known:
            progress(Kept(known))
        try:
            self._fetch(wanted, known, have, progress)
        except OF_ONE_BLOB:
            os.ftruncate(self.descriptor, 0)
            if not known:
                raise
            self._fetch(wanted, 0, (), progress)
        os.ftruncate(self.descriptor, blob.size)
        os.fsync(self.descriptor)
        os.utime(self.descriptor, ns=(_stamp(blob), _stamp(blob)))

    def _fetch(
        self, wanted: BlobSource, known: int, have: Iterable[bytes], progress: Advance
    ) -> None:
        sink = FileSink(self.descriptor, known, progress)
        wanted.source.fetch_blob(wanted.blob, sink, have=have)


def _stamp(blob: Descriptor) -> int:
    """Return the time of a checked blob, in nanoseconds: no file gets it by chance."""
    return int(blob.digest.hex[:_TIME_DIGITS], 16) * _SECOND


def _status(path: Path) -> os.stat_result | None:
    """Return the status of a regular file, None for what is not there or something else."""
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
        # A file system without locks: two runs at once would disturb each other, and notice.
        return True
    return True
