"""Descriptions of images for bmaptool, which writes by them and checks what it reads."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import pytest
from hypothesis import given

from imager.content.copier import write_content
from imager.content.extents import Codec, Content, Data, Extent, FileRange, StreamRange
from imager.content.ranges import data_ranges, gaps
from imager.content.reading import read_content
from imager.formats.bmap import BLOCK, bmap
from tests.lib.caches.caches import flip
from tests.lib.tools.cli import MIB, tool
from tests.unit.test_extents import contents

pytestmark = pytest.mark.oracle


def sample(folder: Path) -> Content:
    source, packed = folder / "source", folder / "packed.gz"
    with source.open("wb") as file:
        file.write(b"s" * 10_000)
        file.seek(2 * MIB)
        file.write(b"t" * 777)
    packer = zlib.compressobj(wbits=31)
    packed.write_bytes(packer.compress(bytes(range(256)) * 100) + packer.flush())
    extents = (
        Extent(0, 1000, Data(b"h" * 1000)),
        Extent(100_001, source.stat().st_size, FileRange(source)),
        Extent(4 * MIB + 3, 25_600, StreamRange(packed, Codec.GZIP)),
        Extent(5 * MIB, 5, Data(b"abcde")),
    )
    return Content(6 * MIB + 100, extents)


def written(folder: Path, image: Content) -> tuple[Path, Path]:
    """Write an image and its description; return both paths."""
    raw, file = folder / "raw", folder / "raw.bmap"
    with raw.open("wb") as output:
        write_content(image, output.fileno(), progress=lambda _: None)
    file.write_bytes(bmap(image))
    return raw, file


def test_bmaptool_copies_and_checks(tmp_path: Path) -> None:
    image, target = sample(tmp_path), tmp_path / "target"
    raw, file = written(tmp_path, image)
    tool("bmaptool", "copy", "--bmap", file, raw, target)
    assert target.read_bytes() == read_content(image)
    # Holes are not written.
    assert target.stat().st_blocks * 512 < MIB


def test_bmaptool_objects_to_damage(tmp_path: Path) -> None:
    raw, file = written(tmp_path, sample(tmp_path))
    copy = ("bmaptool", "copy", "--bmap", file, raw, tmp_path / "target")
    flip(raw, 100_500)
    assert "checksum mismatch" in tool(*copy, status=1)
    file.write_bytes(file.read_bytes().replace(b'"2.0"', b'"2.1"'))
    assert "bmap file" in tool(*copy, status=1)


@given(contents())
def test_ranges_and_gaps_are_all(content: Content) -> None:
    ranges = data_ranges(content)
    data = read_content(content)
    assert all(not any(data[each.start : each.stop]) for each in gaps(ranges, content.size))
    both = sorted([*ranges, *gaps(ranges, content.size)], key=lambda each: each.start)
    assert b"".join(data[each.start : each.stop] for each in both) == data


def test_blocks_are_counted_once(tmp_path: Path) -> None:
    text = bmap(sample(tmp_path)).decode()
    assert f"<ImageSize> {6 * MIB + 100} </ImageSize>" in text
    assert f"<BlocksCount> {6 * MIB // BLOCK + 1} </BlocksCount>" in text
    ranges = re.findall(r"> (\d+)-(\d+) </Range>", text)
    blocks = sum(int(last) - int(first) + 1 for first, last in ranges)
    assert f"<MappedBlocksCount> {blocks} </MappedBlocksCount>" in text
