from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import zstandard

from imager.content.digests import Check
from imager.content.extents import Content, FileRange
from imager.image.write import WriteJob, write_output
from imager.support.errors import InputError
from imager.talos.choices import OutFormat

DATA = bytes(range(256)) * 4000
FORMATS = pytest.mark.parametrize("out_format", [OutFormat.RAW, OutFormat.ZST])


@pytest.fixture(name="source")
def source_file(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    return path


def ignore(_count: int) -> None:
    return None


def content(source: Path) -> Content:
    return Content.compose(200 << 20, [(1000, Content.of_file(source))])


def whole() -> bytes:
    return (bytes(1000) + DATA).ljust(200 << 20, b"\0")


@FORMATS
def test_the_output_is_the_content_and_its_digest_is_told(
    source: Path, tmp_path: Path, out_format: OutFormat
) -> None:
    done: list[int] = []
    job = WriteJob(content(source), tmp_path / "out", out_format, checksum=True)
    written = write_output(job, progress=done.append)
    data = written.path.read_bytes()
    assert written.size == len(data)
    assert written.sha256 == hashlib.sha256(data).hexdigest()
    assert sum(done) == len(DATA)
    if out_format is OutFormat.ZST:
        data = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
    assert data == whole()


@FORMATS
def test_a_source_that_changes_meanwhile_is_told(
    source: Path, tmp_path: Path, out_format: OutFormat
) -> None:
    def touch(_count: int) -> None:
        os.utime(source, ns=(1, 1))

    with pytest.raises(InputError, match="source was changed while it was copied"):
        write_output(WriteJob(content(source), tmp_path / "out", out_format), progress=touch)
    assert not (tmp_path / "out").exists()


@FORMATS
def test_a_failed_check_leaves_no_output(
    source: Path, tmp_path: Path, out_format: OutFormat
) -> None:
    check = Check("it", Content.of_source(FileRange(source), len(DATA)), "0" * 64)
    job = WriteJob(content(source), tmp_path / "out", out_format, (check,))
    with pytest.raises(InputError, match="it does not match its digest"):
        write_output(job, progress=ignore)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
