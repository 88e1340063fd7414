from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import tarfile
from pathlib import Path

import pytest
import zstandard

from imager.content.digests import Check
from imager.content.extents import Content, FileRange
from imager.image.write import WriteJob, write_output
from imager.support.errors import InputError
from imager.talos.choices import OutFormat

DATA = bytes(range(256)) * 4000
FORMATS = pytest.mark.parametrize("out_format", OutFormat)


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


def unpacked(data: bytes, out_format: OutFormat) -> bytes:
    match out_format:
        case OutFormat.RAW:
            return data
        case OutFormat.ZST:
            return zstandard.decompress(data)
        case OutFormat.XZ:
            return lzma.decompress(data)
        case OutFormat.GZ:
            return gzip.decompress(data)
        case OutFormat.TAR_GZ:
            with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
                (info,) = tar.getmembers()
                assert (info.name, info.mtime) == ("disk.raw", 1_700_000_000)
                file = tar.extractfile(info)
                assert file is not None
                return file.read()


@FORMATS
def test_the_output_is_the_content_and_its_digest_is_told(
    source: Path, tmp_path: Path, out_format: OutFormat
) -> None:
    done: list[int] = []
    job = WriteJob(
        *(content(source), tmp_path / "out", out_format), checksum=True, timestamp=1_700_000_000
    )
    written = write_output(job, progress=done.append)
    data = written.path.read_bytes()
    assert written.size == len(data)
    assert written.sha256 == hashlib.sha256(data).hexdigest()
    assert sum(done) == job.stored.data_size
    assert unpacked(data, out_format) == whole()


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


@FORMATS
def test_what_stops_a_build_leaves_no_output(
    source: Path, tmp_path: Path, out_format: OutFormat
) -> None:
    def stop(_count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_output(WriteJob(content(source), tmp_path / "out", out_format), progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
