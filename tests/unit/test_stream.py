"""Outputs that are sent in order, alone or in a tar: the same bytes as in a file."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from imager.content.digests import Check
from imager.content.extents import Content, FileRange
from imager.formats.ova import plan_ova
from imager.formats.ovf import VirtualMachine
from imager.image.stream import Stream, send_output, tar_job
from imager.image.write import WriteJob, write_output
from imager.support.errors import InputError, NoSpaceError
from imager.talos.choices import OutFormat

DATA = bytes(range(256)) * 20_000
SIZE = 40 << 20
FORMATS = pytest.mark.parametrize("out_format", OutFormat)


@pytest.fixture(name="source")
def source_file(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    return path


def job_of(source: Path, out_format: OutFormat, *checks: Check) -> WriteJob:
    """Return a job with holes before, behind and between its data."""
    content = Content.compose(
        SIZE, [(1000, Content.of_file(source)), (SIZE - 3_000_000, Content.of_bytes(b"end"))]
    )
    path = source.with_name("out")
    return WriteJob(content, path, out_format, checks, checksum=True, timestamp=1_700_000_000)


def ignore(_count: int) -> None:
    return None


class _Failing(io.BytesIO):
    def __init__(self, error: OSError, room: int) -> None:
        super().__init__()
        self.error, self.room = error, room

    def write(self, data: object, /) -> int:
        self.room -= memoryview(data).nbytes  # type: ignore[arg-type]
        if self.room < 0:
            raise self.error
        return 0


@FORMATS
def test_what_is_sent_is_the_file(source: Path, out_format: OutFormat) -> None:
    done: list[int] = []
    job = job_of(source, out_format)
    sent = io.BytesIO()
    written = send_output(job, job, sent, progress=done.append)
    assert written == write_output(job, progress=ignore)
    assert sent.getvalue() == job.path.read_bytes()
    assert sum(done) == job.stored.data_size


def test_a_tar_has_the_output_and_its_bmap(source: Path) -> None:
    job = job_of(source, OutFormat.RAW)
    sent, done = io.BytesIO(), list[int]()
    tar_of_both = tar_job(job, b"<bmap/>")
    written = send_output(job, tar_of_both, sent, progress=done.append)
    assert sum(done) == tar_of_both.stored.data_size
    assert written == write_output(job, progress=ignore)
    with tarfile.open(fileobj=io.BytesIO(sent.getvalue()), mode="r:gz") as tar:
        members = {each.name: (each.mode, each.mtime, each.uid) for each in tar}
        assert members == dict.fromkeys(("out", "out.bmap"), (0o644, 1_700_000_000, 0))
        files = [tar.extractfile(name) for name in members]
        assert [file.read() for file in files if file] == [job.path.read_bytes(), b"<bmap/>"]


def check_of(source: Path, digest: str) -> Check:
    return Check("it", Content.of_source(FileRange(source), len(DATA)), digest)


@FORMATS
def test_what_fails_at_its_end_is_incomplete(source: Path, out_format: OutFormat) -> None:
    """What is looked at last, when all else is sent, is whether a source has changed."""

    def touch(_count: int) -> None:
        os.utime(source, ns=(1, 1))

    job = job_of(source, out_format, check_of(source, hashlib.sha256(DATA).hexdigest()))
    whole, sent = io.BytesIO(), io.BytesIO()
    send_output(job, job, whole, progress=ignore)
    with pytest.raises(InputError, match=r"changed .*out was sent incompletely, and must not"):
        send_output(job, job, sent, progress=touch)
    assert len(sent.getvalue()) < len(whole.getvalue())
    assert whole.getvalue().startswith(sent.getvalue())
    if out_format in (OutFormat.GZ, OutFormat.TAR_GZ):
        with pytest.raises(EOFError):
            gzip.decompress(sent.getvalue())


def test_what_fails_its_check_ends_early(source: Path) -> None:
    job = job_of(source, OutFormat.RAW, check_of(source, "0" * 64))
    with pytest.raises(InputError, match=r"digest .*out was sent incompletely, and must not"):
        send_output(job, job, io.BytesIO(), progress=ignore)


@FORMATS
def test_a_reader_that_is_gone_ends_it_quietly(source: Path, out_format: OutFormat) -> None:
    job = job_of(source, out_format)
    with pytest.raises(BrokenPipeError):
        send_output(job, job, _Failing(BrokenPipeError(), 100), progress=ignore)
    with pytest.raises(NoSpaceError, match=r"no space left while writing; .* must not be used"):
        send_output(job, job, _Failing(OSError(28, "full"), 100), progress=ignore)


def test_what_must_be_a_file_first() -> None:
    disk = Content(1 << 20)
    ova = plan_ova(disk, VirtualMachine("talos", ()), timestamp=0)
    for tar, image, out_format, needed in (
        (False, disk, OutFormat.RAW, False),
        (False, disk, OutFormat.ZST, False),
        (False, ova, OutFormat.RAW, True),
        (True, disk, OutFormat.RAW, False),
        (True, disk, OutFormat.ZST, True),
        (True, ova, OutFormat.RAW, True),
    ):
        assert Stream(io.BytesIO(), tar).needs_file(image, out_format) is needed
