"""Blocks that are decompressed in memory: whole, or an error."""

from __future__ import annotations

import gzip
import lzma
import random
import resource
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import zstandard

from imager.content.blocks import decompress_block
from imager.content.extents import BlockRange, Codec, Content, Extent
from imager.content.random_access import ContentReader
from imager.content.reading import read_content
from imager.content.unpack import write_files
from imager.support.errors import InputError

DATA = random.Random("block").randbytes(300) + b"text " * 100


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACK: Mapping[Codec, Callable[[bytes], bytes]] = {
    Codec.GZIP: gzip.compress,
    Codec.ZLIB: zlib.compress,
    Codec.DEFLATE: deflated,
    Codec.XZ: lzma.compress,
    Codec.ZSTD: zstandard.ZstdCompressor(write_checksum=True).compress,
}
CODECS = pytest.mark.parametrize("codec", Codec)


@CODECS
def test_blocks_are_whole_or_refused(codec: Codec) -> None:
    packed = PACK[codec](DATA)
    assert decompress_block(packed + b"behind it", codec, len(DATA)) == DATA
    for end in range(len(packed)):
        with pytest.raises(InputError, match="damaged"):
            decompress_block(packed[:end], codec, len(DATA))
    with pytest.raises(InputError, match="more than 799 bytes"):
        decompress_block(packed, codec, len(DATA) - 1)
    if codec is not Codec.DEFLATE:
        flipped = bytearray(packed)
        # Within the data: the checksum is that of other bytes.
        flipped[len(packed) // 3] ^= 1
        with pytest.raises(InputError, match="damaged"):
            decompress_block(bytes(flipped), codec, len(DATA))


@CODECS
def test_a_bomb_takes_no_memory(codec: Codec) -> None:
    bomb = PACK[codec](bytes(64 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="more than 4096 bytes"):
        decompress_block(bomb, codec, 4096)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10


def test_every_way_to_read_gives_the_same(tmp_path: Path) -> None:
    """Two files share a block, which is itself in a block; one of them has a hole."""
    inner = PACK[Codec.ZSTD](DATA)
    outer = Content.of_source(
        BlockRange(Content.of_bytes(PACK[Codec.XZ](inner)), Codec.XZ, 4096), len(inner)
    )
    block = BlockRange(outer, Codec.ZSTD, 4096)
    one = Content(1000, (Extent(200, 300, block),))
    two = Content.of_source(block, len(DATA)).slice(290, 100)
    wanted = {"one": bytes(200) + DATA[:300] + bytes(500), "two": DATA[290:390]}
    write_files({tmp_path / "one": one, tmp_path / "two": two})
    for name, content in (("one", one), ("two", two)):
        assert read_content(content) == wanted[name] == (tmp_path / name).read_bytes()
        with ContentReader(content) as reader:
            assert reader.read(10, 400) == wanted[name][10:410]
    longer = Content.of_source(block, len(DATA) + 1)
    with pytest.raises(InputError, match="shorter than its tables say"):
        read_content(longer)
