"""Write a planned output, raw or compressed, and check digests meanwhile."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from imager.content.checked import write_checked
from imager.content.copier import write_error, write_errors
from imager.content.digests import Check, checking
from imager.content.extents import Content
from imager.content.reading import iterate_bytes, iterate_content, zeros
from imager.content.unchanged import unchanged
from imager.content.writeback import flushing
from imager.image.disk_formats import DiskImage
from imager.support.atomic import atomic_file
from imager.support.reporter import Advance
from imager.support.workers import Cancel, usable_cores
from imager.talos.choices import OutFormat

if TYPE_CHECKING:
    from imager.content.packing.chunks import Packed
    from imager.formats.ova import Ova
    from imager.support.blockdevices import BlockDevice

# The name that Google Cloud requires.
_TAR_MEMBER = "disk.raw"


@dataclass(frozen=True, slots=True)
class WriteJob:
    """What to write, where, and in which format; `checks` run during the write.

    Without `clobber`, an existing file at `path` is an error. `timestamp` is that of the file in
    a tar. `disk_sha256` waits for the SHA-256 (hex) of the disk, if something else computes it.
    """

    content: DiskImage
    path: Path
    out_format: OutFormat = OutFormat.RAW
    checks: Sequence[Check] = ()
    checksum: bool = False
    clobber: bool = True
    timestamp: int = 0
    disk_sha256: Callable[[], str] | None = None

    @property
    def stored(self) -> Content:
        """The content that is written or compressed: that of the output, or a tar of it."""
        if self.out_format is OutFormat.TAR_GZ:
            from imager.content.sparse_tar import plan_sparse_tar

            return plan_sparse_tar(_TAR_MEMBER, self.disk, timestamp=self.timestamp)
        return self.disk

    @property
    def disk(self) -> Content:
        """The content, or that of the disk in an OVA."""
        return self.content if isinstance(self.content, Content) else self.content.disk


@dataclass(frozen=True, slots=True)
class Written:
    """The written file, its size in bytes, and its SHA-256 (hex) if requested."""

    path: Path
    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Beside:
    """Files beside an output, which are put in place with it: their paths, and their bytes.

    `made` returns the bytes; it is called when the output is written, with `lock` held until all
    files are in place. `disk_sha256` is as in WriteJob.
    """

    paths: Sequence[Path]
    made: Callable[[Written], Mapping[Path, bytes]]
    lock: AbstractContextManager[None] | None = None
    disk_sha256: Callable[[], str] | None = None


def write_output(job: WriteJob, *, progress: Advance, beside: Beside | None = None) -> Written:
    """Write the job's content atomically, while its checks run, and the files `beside` it.

    Raises InputError if a check fails, an input changes during the write, or an existing file may
    not be replaced; HostError if the disk is full; OutputError if reading or writing fails; and
    what `beside` raises. Leaves nothing behind on failure.
    """
    write = _writer(job)
    if beside:
        job = replace(job, disk_sha256=beside.disk_sha256)
    with ExitStack() as locks, ExitStack() as others:
        # They appear after the output, when this block ends.
        files = {path: others.enter_context(atomic_file(path)) for path in _paths(beside)}
        with atomic_file(job.path, clobber=job.clobber) as target:
            with _flushed(target, progress) as advance:
                sha256 = write(job, target, advance)
            written = Written(job.path, os.fstat(target).st_size, sha256)
            if beside:
                _write_beside(beside, written, files, locks)
    return written


def _paths(beside: Beside | None) -> Sequence[Path]:
    return beside.paths if beside else ()


def _write_beside(
    beside: Beside, written: Written, files: Mapping[Path, int], locks: ExitStack
) -> None:
    if beside.lock:
        locks.enter_context(beside.lock)
    for path, data in beside.made(written).items():
        try:
            _write_all(files[path], data)
            os.fsync(files[path])
        except OSError as error:
            raise write_error(error) from error


def write_to_device(job: WriteJob, device: BlockDevice, *, progress: Advance) -> Written:
    """Write the job's content to a disk, while its checks run; raises as `write_device`."""
    from imager.image.device import open_device, write_device

    with (
        open_device(device) as target,
        unchanged(job.disk),
        _flushed(target, progress) as advance,
    ):
        write_device(job.disk, target, device, checks=job.checks, progress=advance)
    digest = _content_sha256(job.disk, Cancel()) if job.checksum else None
    return Written(job.path, job.disk.size, digest)


def bmap_path(path: Path) -> Path:
    """Return the path of the description of the output `path`."""
    return path.with_name(f"{path.name}.bmap")


@contextmanager
def _flushed(target: int, progress: Advance) -> Iterator[Advance]:
    """Flush the file `target` while the block writes.

    Yields a function to call with the number of bytes written.
    """
    with flushing() as flusher:

        def flushed(count: int) -> None:
            flusher.wrote(target, count)
            progress(count)

        yield flushed


@contextmanager
def checked_write(job: WriteJob, progress: Advance) -> Iterator[Advance]:
    """Run the checks of a job while the block writes; its end waits for them.

    Yields a function to call with the number of bytes written. Raises InputError if a check fails
    or a source changes.
    """
    with unchanged(job.disk), checking(job.checks) as raise_failed:

        def advance(count: int) -> None:
            raise_failed()
            progress(count)

        yield advance


_Writer = Callable[["WriteJob", int, Advance], str | None]


def _writer(job: WriteJob) -> _Writer:
    if not isinstance(job.content, Content):
        return partial(_write_ova, job.content)
    return _write_raw if job.out_format is OutFormat.RAW else _write_packed


def _write_ova(ova: Ova, job: WriteJob, target: int, progress: Advance) -> str | None:
    from imager.formats.ova import write_ova

    with checked_write(job, progress) as advance:
        write_ova(ova, target, jobs=usable_cores(), progress=advance)
    if not job.checksum:
        return None
    return _content_sha256(Content.of_file(Path(f"/proc/self/fd/{target}")), Cancel())


def _write_raw(job: WriteJob, target: int, progress: Advance) -> str | None:
    with write_errors():
        os.ftruncate(target, job.disk.size)
    with hashing(job) as sha256, unchanged(job.disk):
        write_checked(job.disk, target, job.checks, progress=progress)
        return sha256()


@contextmanager
def hashing(job: WriteJob) -> Iterator[Callable[[], str | None]]:
    """Compute the SHA-256 of the job's content during the block, if it is requested.

    Yields a function that waits for it and returns it in hex; None if it is not requested.
    """
    if job.checksum and job.disk_sha256:
        yield job.disk_sha256
        return
    with ThreadPoolExecutor(1, "checksum") as pool, Cancel() as cancel:
        digest = pool.submit(_content_sha256, job.disk, cancel) if job.checksum else None
        yield lambda: digest.result() if digest else None


def _content_sha256(content: Content, cancel: Cancel) -> str:
    """Return the SHA-256 of the planned content, without reading the output file.

    Raises CancelledError once `cancel` is set.
    """
    digest = hashlib.sha256()
    for data in iterate_bytes(content):
        cancel.check()
        digest.update(data)
    return digest.hexdigest()


def _packer(out_format: OutFormat) -> Callable[..., Generator[Packed, None, None]]:
    """Return the function that compresses; the libraries of the others are not loaded."""
    match out_format:
        case OutFormat.XZ:
            from imager.content.packing.xzstream import pack_xz

            return pack_xz
        case OutFormat.ZST:
            from imager.content.packing.zstdframe import pack_zstd

            return pack_zstd
        case OutFormat.GZ | OutFormat.TAR_GZ:
            from imager.content.packing.gzipmember import pack_gzip

            return pack_gzip
        case OutFormat.RAW:
            raise ValueError("a raw output is not compressed")


def in_order(job: WriteJob) -> Generator[Packed, None, None]:
    """Yield the bytes of an output that is not an OVA; raises like `iterate_content`."""
    if job.out_format is OutFormat.RAW:
        return _plain(job.disk)
    return _packer(job.out_format)(job.stored, threads=usable_cores())


def _plain(content: Content) -> Generator[Packed, None, None]:
    from imager.content.packing.chunks import Packed

    for piece in iterate_content(content):
        if isinstance(piece, int):
            yield from map(Packed, zeros(piece))
        else:
            yield Packed(piece, len(piece))


def _write_packed(job: WriteJob, target: int, progress: Advance) -> str | None:
    digest = hashlib.sha256() if job.checksum else None
    # The generator ends its threads when this fails.
    with checked_write(job, progress) as advance, closing(in_order(job)) as packed:
        try:
            for data, covered in packed:
                _write_all(target, data)
                if digest:
                    digest.update(data)
                advance(covered)
        except OSError as error:
            raise write_error(error) from error
    return digest.hexdigest() if digest else None


def _write_all(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
