from __future__ import annotations

import gzip
import lzma
import random
from pathlib import Path

import pytest
import zstandard

from imager.content.compression import StreamReader, detect_codec, stream_codec
from imager.content.extents import Codec
from imager.support.errors import InputError
from tests.lib.caches.caches import flip

DATA = random.Random("data").randbytes(1000) * 300
# The others are of parts of disk images, whose ends are not known.
OF_FILES = (Codec.GZIP, Codec.ZSTD, Codec.XZ)
CODECS = pytest.mark.parametrize("codec", OF_FILES)


def packed(codec: Codec, data: bytes = DATA) -> bytes:
    if codec is Codec.GZIP:
        return gzip.compress(data, mtime=0)
    if codec is Codec.XZ:
        return lzma.compress(data, preset=0)
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


@pytest.fixture(name="path")
def stream_file(tmp_path: Path, codec: Codec) -> Path:
    path = tmp_path / "stream"
    path.write_bytes(packed(codec))
    return path


def read_all(path: Path, codec: Codec, chunk: int = 70_000) -> bytes:
    parts = []
    with StreamReader(path, codec) as reader:
        while part := reader.read(chunk):
            parts.append(part)
    return b"".join(parts)


@CODECS
def test_a_codec_is_told_by_its_magic(path: Path, codec: Codec) -> None:
    """Caches are not compressed with xz, so only those who can read it know it."""
    assert detect_codec(path) is (None if codec is Codec.XZ else codec)
    assert stream_codec(path.read_bytes()[:6]) is codec


@pytest.mark.parametrize("data", [b"", b"\x1f", b"plain text", b"\xfd7zXZ\0"])
def test_anything_else_is_not_compressed(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "f").write_bytes(data)
    assert detect_codec(tmp_path / "f") is None


@CODECS
def test_reads_are_full_until_the_end(path: Path, codec: Codec) -> None:
    with StreamReader(path, codec) as reader:
        assert reader.read(0) == b""
        assert reader.read(123_456) == DATA[:123_456]
        assert reader.tell() == 123_456
        assert reader.read(len(DATA)) == DATA[123_456:]
        assert reader.read(10) == b""
        assert reader.tell() == len(DATA)


@CODECS
def test_seeking_forwards_and_back(path: Path, codec: Codec) -> None:
    with StreamReader(path, codec) as reader:
        for offset in (0, 100_001, 100_001, 250_000, 17, len(DATA)):
            reader.seek_forward(offset)
            assert reader.tell() == offset
            assert reader.read(9) == DATA[offset : offset + 9]


@CODECS
def test_seeking_past_the_end(path: Path, codec: Codec) -> None:
    expected = pytest.raises(InputError, match="ends before byte 999999 of its contents")
    with StreamReader(path, codec) as reader, expected:
        reader.seek_forward(999_999)


@CODECS
def test_several_members_or_frames_are_one_stream(path: Path, codec: Codec) -> None:
    path.write_bytes(packed(codec) + packed(codec, b"") + packed(codec, b"end"))
    assert read_all(path, codec) == DATA + b"end"


@CODECS
def test_every_truncation_is_told(path: Path, codec: Codec) -> None:
    whole = path.read_bytes() + packed(codec, b"second")
    lone = len(path.read_bytes())
    for size in {*range(1, len(whole), 7), *range(len(whole) - 9, len(whole))} - {lone}:
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="is not a whole"):
            read_all(path, codec)


def test_skippable_frames_and_blocks_of_every_kind_are_read(tmp_path: Path) -> None:
    path = tmp_path / "f"
    skippable = b"\x5a\x2a\x4d\x18" + (300).to_bytes(4, "little") + bytes(300)
    noise, zeros = random.Random("noise").randbytes(300_000), bytes(1_000_000)
    frames = [zstandard.compress(data) for data in (noise, zeros, DATA)]
    path.write_bytes(skippable + frames[0] + skippable + frames[1] + frames[2])
    assert read_all(path, Codec.ZSTD) == noise + zeros + DATA
    path.write_bytes(frames[0] + skippable[:-1])
    with pytest.raises(InputError, match="is not a whole"):
        read_all(path, Codec.ZSTD)


@CODECS
def test_damage_is_told(path: Path, codec: Codec) -> None:
    flip(path)
    with pytest.raises(InputError, match=r"stream is not a whole (gzip|zstd|xz) stream") as caught:
        read_all(path, codec)
    assert "copy it again" in caught.value.hint


@CODECS
def test_a_wrong_checksum_at_the_end_is_told(path: Path, codec: Codec) -> None:
    flip(path, -6 if codec is Codec.GZIP else -2)
    with pytest.raises(InputError, match="is not a whole"):
        read_all(path, codec)


@CODECS
def test_garbage_behind_the_stream_is_told(path: Path, codec: Codec) -> None:
    path.write_bytes(path.read_bytes() + b"garbage")
    with pytest.raises(InputError, match="is not a whole"):
        read_all(path, codec)


@CODECS
def test_the_other_codec_is_told(path: Path, codec: Codec) -> None:
    other = Codec.ZSTD if codec is Codec.GZIP else Codec.GZIP
    with pytest.raises(InputError, match="is not a whole"):
        read_all(path, other)


def test_a_window_that_would_take_too_much_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    # RFC 8878, 3.1.1: no single segment, window descriptor 0xff, one empty raw last block.
    path.write_bytes(b"\x28\xb5\x2f\xfd\x00\xff\x01\x00\x00")
    with pytest.raises(InputError, match="is not a whole zstd stream"):
        read_all(path, Codec.ZSTD)
