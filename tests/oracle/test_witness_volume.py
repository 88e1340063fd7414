"""What the witness takes for a volume's type and label, held against libblkid."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lib.tools.cli import REPOSITORY, tool

pytestmark = pytest.mark.oracle

SCRIPT = REPOSITORY / "imager/distro/witness/volume"
# KiB that make the type the natural one, and where the copy of the label lies.
FATS = {"12": (2_048, 43), "16": (20_480, 43), "32": (66_560, 71)}


def volume(device: Path) -> str:
    return tool("sh", SCRIPT, device).strip()


def by_blkid(device: Path) -> str:
    said = dict(
        line.split("=", 1) for line in tool("blkid", "-p", "-o", "export", device).splitlines()
    )
    label = said.get("LABEL", "NO NAME").replace("\\ ", " ")
    return f"{said['TYPE']} {label}"


def make_fat(folder: Path, bits: str, *options: str) -> Path:
    device = folder / "fat.img"
    device.unlink(missing_ok=True)
    tool("mkfs.vfat", "-C", "-F", bits, *options, device, str(FATS[bits][0]))
    return device


@pytest.mark.parametrize("bits", FATS)
def test_a_label_of_mkfs(tmp_path: Path, bits: str) -> None:
    device = make_fat(tmp_path, bits, "-n", "TALOS_1")
    assert volume(device) == by_blkid(device) == "vfat TALOS_1"
    device = make_fat(tmp_path, bits, "-n", "A B")
    assert volume(device) == by_blkid(device) == "vfat A B"


@pytest.mark.parametrize("bits", FATS)
def test_a_volume_without_a_label(tmp_path: Path, bits: str) -> None:
    device = make_fat(tmp_path, bits)
    assert volume(device) == by_blkid(device) == "vfat NO NAME"


@pytest.mark.parametrize("bits", FATS)
def test_the_root_counts_and_not_its_copy(tmp_path: Path, bits: str) -> None:
    """Also behind files, whose long names are no labels."""
    device = make_fat(tmp_path, bits)
    for name in ("short", "a name of several records.text"):
        (tmp_path / name).write_bytes(b"data")
        tool("mcopy", "-i", device, tmp_path / name, "::/")
    tool("mlabel", "-i", device, "::TALOS_1")
    with device.open("r+b") as file:
        file.seek(FATS[bits][1])
        file.write(b"NO NAME    ")
    assert volume(device) == by_blkid(device) == "vfat TALOS_1"


@pytest.mark.parametrize("bits", FATS)
def test_a_deleted_label_is_none(tmp_path: Path, bits: str) -> None:
    device = make_fat(tmp_path, bits, "-n", "TALOS_1")
    data = device.read_bytes()
    entry = data.index(b"TALOS_1    \x08")
    copy = FATS[bits][1]
    device.write_bytes(
        data[:copy] + b"OLD NAME   " + data[copy + 11 : entry] + b"\xe5" + data[entry + 1 :]
    )
    assert volume(device) == "vfat OLD NAME"


@pytest.mark.parametrize("more", [(), ("-J", "-joliet-long")])
def test_an_iso(tmp_path: Path, more: tuple[str, ...]) -> None:
    tree, iso = tmp_path / "tree", tmp_path / "image.iso"
    tree.mkdir()
    tool("genisoimage", "-quiet", "-R", *more, "-V", "TALOS_V1_9_0", "-o", iso, tree)
    assert volume(iso) == by_blkid(iso) == "iso9660 TALOS_V1_9_0"


def test_what_is_neither(tmp_path: Path) -> None:
    device = tmp_path / "disk.img"
    device.write_bytes(bytes(1 << 20))
    assert volume(device) == ""
    tool("mkfs.ext4", "-q", "-F", "-L", "TALOS_1", device)
    assert volume(device) == ""
