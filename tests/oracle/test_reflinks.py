"""Outputs share blocks with their inputs where the file system can: on XFS; filefrag judges.

Needs root.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from imager.content.checked import write_checked
from imager.content.digests import Check
from imager.content.extents import Content, FileRange
from imager.support.errors import InputError
from tests.lib.tools.cli import MIB, tool

pytestmark = [pytest.mark.oracle, pytest.mark.root]
# The smallest that mkfs.xfs makes.
SIZE = 300 * MIB
DATA = hashlib.shake_128(b"reflinks").digest(MIB)


@pytest.fixture(name="mounted")
def mounted_volume(tmp_path: Path) -> Iterator[Path]:
    image, target = tmp_path / "volume", tmp_path / "mounted"
    image.write_bytes(b"")
    with image.open("r+b") as file:
        file.truncate(SIZE)
    target.mkdir()
    tool("mkfs.xfs", "-q", image)
    tool("mount", "-o", "loop", image, target)
    try:
        yield target
    finally:
        tool("umount", target)


def test_whole_pages_are_cloned_and_hashed(mounted: Path) -> None:
    source, out = mounted / "source", mounted / "out"
    source.write_bytes(DATA)
    length = MIB - 4096 - 100  # whole pages, and some bytes
    blob = Content.of_source(FileRange(source, 4096), length)
    good = Check("it", blob, hashlib.sha256(DATA[4096 : 4096 + length]).hexdigest())
    wrong = replace(good, sha256="0" * 64)
    # At a page, and beside one.
    for position, shared in [(8192, True), (8192 + 512, False)]:
        content = Content.compose(2 * MIB, [(position, blob)])
        done: list[int] = []
        with out.open("wb") as file:
            file.truncate(content.size)
            write_checked(content, file.fileno(), [good], progress=done.append)
        assert sum(done) == length
        assert out.read_bytes()[position : position + length] == DATA[4096 : 4096 + length]
        assert ("shared" in tool("filefrag", "-v", out)) is shared
        with out.open("wb") as file, pytest.raises(InputError, match="it does not match"):
            file.truncate(content.size)
            write_checked(content, file.fileno(), [wrong], progress=done.append)
