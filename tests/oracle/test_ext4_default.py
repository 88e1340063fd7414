"""The size of a volume that others format: mkfs.ext4 with this machine's defaults is the judge."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from imager.content.extents import Content
from imager.content.tree import File, Tree
from imager.formats.ext4.default import minimum_default_ext4_size
from tests.lib.tools import cli

pytestmark = pytest.mark.oracle

MIB = 1 << 20


def free_bytes(volume: Path, size: int) -> int:
    """Return what root may write to a new volume of `size` bytes."""
    volume.unlink(missing_ok=True)
    with volume.open("wb") as file:
        file.truncate(size)
    cli.tool("mkfs.ext4", "-q", "-F", volume)
    said = cli.tool("dumpe2fs", "-h", volume)
    numbers = {key: re.search(rf"{key}: +(\d+)", said) for key in ("Free blocks", "Block size")}
    blocks, block = (int(match[1]) for match in numbers.values() if match)
    return blocks * block


# The journal grows at 128 MiB, 1, 2 and 16 GiB: volumes there could hold less than smaller ones.
@pytest.mark.parametrize("mebibytes", [1, 90, 110, 400, 900, 980, 1900, 1960, 2300, 15700])
def test_every_volume_from_there_on_has_room(tmp_path: Path, mebibytes: int) -> None:
    size = 10 * MIB - 1
    count = -(-mebibytes // 10)
    files = [File(f"blob/sha256-{n:064x}", Content(size)) for n in range(count)]
    least = minimum_default_ext4_size(Tree.of(files), scratch=tmp_path)

    assert least % MIB == 0
    for percent in (0, 1, 2, 4, 8, 16, 32, 100):
        volume = least + least * percent // 100 // MIB * MIB
        assert free_bytes(tmp_path / "volume", volume) >= count * 10 * MIB
    # Not much more than needed: at most the larger journal, and a hundredth.
    tight = (least - max(64 * MIB, least // 16)) // MIB * MIB
    if tight > 64 * MIB:
        assert free_bytes(tmp_path / "volume", tight) < count * 10 * MIB
    assert sorted(path.name for path in tmp_path.iterdir()) == ["volume"]
