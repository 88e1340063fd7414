"""Send an output to a pipe, such as standard output, as it is or in a tar.

A pipe cannot be sought in, and what was sent cannot be taken back. So the last bytes are held back
until every check has passed: an output that must not be used is incomplete, which its reader
notices in a tar or a compressed image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from imager.content.copier import write_error
from imager.content.extents import Content
from imager.content.tar import plan_tar
from imager.content.tree import File, Tree
from imager.formats.ova import Ova
from imager.image.disk_formats import DiskImage
from imager.image.write import WriteJob, Written, bmap_path, checked_write, hashing, in_order
from imager.support.errors import ImagerError
from imager.support.reporter import Advance
from imager.talos.choices import OutFormat


@dataclass(frozen=True, slots=True)
class Stream:
    """A file to send an output to, in order; with `tar`, in a tar.gz, as Talos's imager does."""

    file: IO[bytes]
    tar: bool = False

    def needs_file(self, image: DiskImage, out_format: OutFormat) -> bool:
        """Return whether an output must be written to a file before it can be sent.

        An OVA is not written in order. A tar has the size of a file before the file, and that of a
        compressed output is known at its end.
        """
        return isinstance(image, Ova) or (self.tar and out_format is not OutFormat.RAW)


def file_job(job: WriteJob, path: Path) -> WriteJob:
    """Return the job to send the output of `job` from the file `path`, whose checks have passed."""
    content = Content.of_file(path)
    return WriteJob(content, job.path, checksum=job.checksum, timestamp=job.timestamp)


def tar_job(job: WriteJob, described: bytes | None) -> WriteJob:
    """Return the job of a tar.gz with the output of `job`, and its bmap if it is `described`."""
    files = [File(job.path.name, job.disk)]
    if described is not None:
        files.append(File(bmap_path(job.path).name, Content.of_bytes(described)))
    tar = plan_tar(Tree.of(files), timestamp=job.timestamp)
    return replace(job, content=tar.content, out_format=OutFormat.GZ)


def send_output(job: WriteJob, sent: WriteJob, file: IO[bytes], *, progress: Advance) -> Written:
    """Send `sent` to `file`: it is `job`, or a tar of its output; return what `job` has written.

    Raises BrokenPipeError if the reader is gone. Other errors are those of `write_output`, and say
    that what was sent must not be used.
    """
    if sent is job:
        return _send(job, file, progress)
    with hashing(job) as sha256:
        _send(replace(sent, checksum=False), file, progress)
        return Written(job.path, job.disk.size, sha256())


def _send(job: WriteJob, file: IO[bytes], progress: Advance) -> Written:
    digest = hashlib.sha256() if job.checksum else None
    held, size = b"", 0
    with _unusable(job):
        with checked_write(job, progress) as advance, closing(in_order(job)) as pieces:
            for data, covered in pieces:
                file.write(held)
                held, size = data, size + len(data)
                if digest:
                    digest.update(data)
                advance(covered)
        file.write(held)
        file.flush()
    return Written(job.path, size, digest.hexdigest() if digest else None)


@contextmanager
def _unusable(job: WriteJob) -> Iterator[None]:
    """Add to errors that the block raises that what was sent must not be used."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _added(write_error(error), job) from error
    except ImagerError as error:
        _added(error, job)
        raise


def _added(error: ImagerError, job: WriteJob) -> ImagerError:
    error.message += f"; {job.path} was sent incompletely, and must not be used"
    error.args = (error.message,)
    return error
