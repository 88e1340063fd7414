"""Compressed forms of contents: the same bytes again, in one pass, whatever runs them."""

from __future__ import annotations

import gzip
import lzma
import random
import struct
import threading
import time
import zlib
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from imager.content.extents import Content, FileRange
from imager.content.packing.chunks import CHUNK, Packed, chunks, packed_chunks
from imager.content.packing.gzipmember import pack_gzip
from imager.content.packing.xzstream import pack_xz
from imager.content.packing.zstdframe import pack_zstd
from imager.support.errors import InputError
from tests.lib.tools.support import content_bytes

Packer = Callable[..., Generator[Packed, None, None]]
NOISE = random.Random("noise").randbytes(3 * CHUNK)
TEXT = b"".join(b"line %d of a text that repeats\n" % number for number in range(60_000))
# The shortest hole after which libzstd's repeat offsets are set.
RESTORED = 25


def unpack_gzip(data: bytes) -> bytes:
    """Decompress the one member that `data` is."""
    stream = zlib.decompressobj(31)
    plain = stream.decompress(data)
    assert (stream.eof, stream.unused_data) == (True, b"")
    return plain


def unpack_xz(data: bytes) -> bytes:
    """Decompress the one stream that `data` is."""
    stream = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    plain = stream.decompress(data)
    assert (stream.eof, stream.unused_data) == (True, b"")
    assert stream.check == lzma.CHECK_CRC32
    return plain


def unpack_zstd(data: bytes) -> bytes:
    """Decompress the one frame that `data` is; the size in its header is that of the result."""
    stream = zstandard.ZstdDecompressor().decompressobj()
    plain = stream.decompress(data)
    assert (stream.eof, stream.unused_data) == (True, b"")
    header = zstandard.get_frame_parameters(data)
    assert (header.content_size, header.has_checksum) == (len(plain), True)
    return plain


FORMS = pytest.mark.parametrize(
    ("pack", "unpack"),
    [(pack_gzip, unpack_gzip), (pack_xz, unpack_xz), (pack_zstd, unpack_zstd)],
    ids=["gzip", "xz", "zstd"],
)


def packed(pack: Packer, content: Content, *, threads: int = 2) -> bytes:
    return b"".join(part.data for part in pack(content, threads=threads))


@st.composite
def sparse_contents(draw: st.DrawFn) -> Content:
    """Return a content of some MiB with data of several kinds, holes, and zeros that are data."""
    lengths = st.sampled_from([1, 24, 25, 4096, 100_000, CHUNK - 1, CHUNK, CHUNK + 1])
    gaps = st.sampled_from([0, 0, 1, 5000, CHUNK - 4096, CHUNK, 2 * CHUNK])
    placed: list[tuple[int, Content]] = []
    position = 0
    for _ in range(draw(st.integers(0, 5))):
        length = draw(lengths)
        kind = draw(st.sampled_from([NOISE, TEXT, b"a" * CHUNK * 2, bytes(CHUNK * 2), NOISE[:37]]))
        data = (kind * (length // len(kind) + 1))[:length]
        position += draw(gaps)
        placed.append((position, Content.of_bytes(data)))
        position += length
    return Content.compose(position + draw(gaps), placed)


@FORMS
@settings(max_examples=25, deadline=None)
@given(content=sparse_contents())
def test_the_content_comes_out_again_for_any_number_of_threads(
    pack: Packer, unpack: Callable[[bytes], bytes], content: Content
) -> None:
    one = packed(pack, content, threads=1)
    assert unpack(one) == content_bytes(content)
    assert packed(pack, content, threads=2) == one
    assert packed(pack, content, threads=4) == one
    assert sum(part.covered for part in pack(content, threads=2)) == content.data_size


@FORMS
@pytest.mark.parametrize("size", [0, 1, RESTORED - 1, RESTORED, CHUNK, CHUNK + 7])
def test_holes_alone(pack: Packer, unpack: Callable[[bytes], bytes], size: int) -> None:
    assert unpack(packed(pack, Content(size))) == bytes(size)


@pytest.mark.parametrize("before", [b"", b"abcabcabd" * 9, NOISE[:1000], TEXT[:5000]])
@pytest.mark.parametrize(
    "after", [b"a" * 60 + TEXT[:300], b"abcd" * 40, b"abcdefgh" * 30, TEXT[:9000], b"a" * CHUNK]
)
def test_what_repeats_after_a_hole_is_not_taken_from_before_it(before: bytes, after: bytes) -> None:
    """A run of data begins with matches one, four and eight bytes back, as libzstd supposes.

    The data before the hole ends with its chunk: zeros after it would be matches one byte back.
    """
    start, place = CHUNK - len(before), 2 * CHUNK
    content = Content.compose(
        place + len(after), [(start, Content.of_bytes(before)), (place, Content.of_bytes(after))]
    )
    whole = (bytes(start) + before).ljust(place, b"\0") + after
    assert unpack_zstd(packed(pack_zstd, content)) == whole


@FORMS
def test_what_is_compressed_already_is_stored(
    pack: Packer, unpack: Callable[[bytes], bytes]
) -> None:
    start = time.process_time()
    data = packed(pack, Content.of_bytes(NOISE * 4))
    assert time.process_time() - start < 0.8  # xz would take two seconds
    assert NOISE[:10_000] in data
    assert len(data) < len(NOISE) * 4.002


@FORMS
def test_text_becomes_small(pack: Packer, unpack: Callable[[bytes], bytes]) -> None:
    assert len(packed(pack, Content.of_bytes(TEXT))) < len(TEXT) / 5


@pytest.mark.parametrize(
    ("pack", "most"), [(pack_gzip, 1100 << 10), (pack_xz, 260 << 10), (pack_zstd, 60 << 10)]
)
def test_a_gigabyte_of_holes_takes_little(pack: Packer, most: int) -> None:
    start = time.process_time()
    assert len(packed(pack, Content(1 << 30))) < most
    assert time.process_time() - start < 5


def test_a_gzip_header_has_neither_name_nor_time_and_the_end_counts_modulo_4_gib() -> None:
    size = (1 << 32) + 5
    data = packed(pack_gzip, Content(size))
    assert data[:10] == bytes.fromhex("1f8b0800000000000003")
    checksum, zeros = 0, bytes(CHUNK)
    for _ in range(size // CHUNK):
        checksum = zlib.crc32(zeros, checksum)
    assert data[-8:] == struct.pack("<II", zlib.crc32(bytes(5), checksum), 5)


def test_every_block_of_xz_tells_its_sizes() -> None:
    """The first block: both sizes are in its header, so that xz decompresses in parallel."""
    data = packed(pack_xz, Content.of_bytes(NOISE))
    stream, block = data[:12], data[12:]
    assert stream[:8] == b"\xfd7zXZ\0\0\x01"
    assert block[1] & 0xC0 == 0xC0


@pytest.mark.parametrize("whole", [True, False])
def test_chunks_are_the_content_in_order(tmp_path: Path, whole: bool) -> None:
    path = tmp_path / "f"
    path.write_bytes(NOISE)
    size = 5 * CHUNK if whole else 5 * CHUNK + 3
    content = Content.compose(size, [(CHUNK + 10, Content.of_file(path))])
    found = list(chunks(content))
    assert [chunk.size for chunk in found] == [CHUNK] * 5 + ([] if whole else [3])
    assert [chunk.covered for chunk in found[:5]] == [0, CHUNK - 10, CHUNK, CHUNK, 10]
    assert found[0].data is None
    data = b"".join(bytes(each.size) if each.data is None else each.data for each in found)
    assert data == content_bytes(content)


def test_results_come_in_order_although_threads_do_not() -> None:
    def slow_first(data: bytes) -> bytes:
        time.sleep(0.02 if data[0] % 3 == 1 else 0)
        return data[:1]

    content = Content.of_bytes(b"".join(bytes([n]) * CHUNK for n in range(1, 20)))
    found = [chunk.part for chunk in packed_chunks(content, slow_first, threads=4)]
    assert found == [bytes([n]) for n in range(1, 20)]


def test_zeros_are_compressed_once_and_few_chunks_wait() -> None:
    calls: list[int] = []

    def count(data: bytes) -> int:
        calls.append(len(data))
        return len(data)

    holes = packed_chunks(Content(100 * CHUNK + 5), count, threads=2)
    assert sum(chunk.part for chunk in holes) == 100 * CHUNK + 5
    assert sorted(calls) == [5, CHUNK]
    calls.clear()
    data = Content.of_bytes(b"x" * (50 * CHUNK))
    running = packed_chunks(data, count, threads=3)
    next(running)
    time.sleep(0.1)
    assert len(calls) == 2 * 3
    running.close()


@FORMS
def test_stopping_ends_the_threads(pack: Packer, unpack: Callable[[bytes], bytes]) -> None:
    before = threading.active_count()
    running = pack(Content.of_bytes(NOISE * 4), threads=2)
    next(running)
    next(running)
    running.close()
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    # One of another test may have ended meanwhile.
    assert threading.active_count() <= before


@FORMS
def test_a_source_that_is_shorter_now(
    pack: Packer, unpack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "f"
    path.write_bytes(NOISE[:100])
    content = Content.of_source(FileRange(path), 2 * CHUNK)
    with pytest.raises(InputError, match="is shorter than it was when it was planned"):
        packed(pack, content)


def test_a_failure_in_a_thread_is_raised() -> None:
    def fail(_data: bytes) -> None:
        raise MemoryError

    running = packed_chunks(Content.of_bytes(NOISE), fail, threads=2)
    with pytest.raises(MemoryError):
        list(running)


@FORMS
def test_damage_is_found_unless_it_changes_nothing(
    pack: Packer, unpack: Callable[[bytes], bytes]
) -> None:
    """A bit that has no meaning may change: the system in gzip's header, or what pads a block."""
    content = Content.of_bytes(NOISE[:5000] + TEXT[:5000])
    data, found = packed(pack, content), 0
    places = random.Random("places").sample(range(len(data)), 60)
    for place in places:
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        try:
            plain = unpack(bytes(damaged))
        except (AssertionError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError):
            found += 1
        else:
            assert plain == content_bytes(content)
    assert found > 55


def test_readers_of_python_read_them() -> None:
    content = Content.compose(3 * CHUNK, [(CHUNK, Content.of_bytes(TEXT))])
    data = content_bytes(content)
    assert gzip.decompress(packed(pack_gzip, content)) == data
    assert lzma.decompress(packed(pack_xz, content)) == data
    assert zstandard.decompress(packed(pack_zstd, content)) == data
