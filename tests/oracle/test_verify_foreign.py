"""`imager secureboot verify` on images that xorriso, genisoimage, sgdisk and mkfs.fat made."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from imager.content.extents import Content
from imager.efi.authenticode import sign_pe
from imager.efi.enrollment import enrollment
from tests.lib.keys.pe_stub import pe_stub
from tests.lib.keys.signing_keys import Keys
from tests.lib.tools.cli import MIB, run, tool
from tests.lib.tools.support import content_bytes
from tests.lib.volumes.foreign_volumes import patch, write_tree

pytestmark = pytest.mark.oracle

INPUT = 2
LOADER, UKI = "EFI/BOOT/BOOTX64.EFI", "EFI/Linux/Talos-v1.9.0.efi"
KEY_FILES = ("PK", "KEK", "db")
Files = Mapping[str, bytes]


@pytest.fixture(scope="module")
def files(keys: Keys) -> Files:
    """Return the files of an ESP: signed binaries, and the keys that fit."""
    binaries = {
        name: content_bytes(sign_pe(Content.of_bytes(pe_stub(symbols=name.encode())), keys.signer))
        for name in (LOADER, UKI)
    }
    made = enrollment(keys.signer)
    values = zip(KEY_FILES, made.values(), strict=True)
    return binaries | {f"loader/keys/auto/{name}.auth": value.auth for name, value in values}


def fat(path: Path, files: Files, *options: str, kib: int = 40 << 10) -> Path:
    """Make a FAT volume of `kib` KiB with `files`."""
    tool("mkfs.fat", *options, "-C", path, str(kib))
    tree = write_tree(path.with_name(f"{path.name}-tree"), files)
    tool("mcopy", "-i", path, "-s", *sorted(tree.iterdir()), "::/")
    return path


def verified(image: Path, keys: Keys) -> tuple[dict[str, Any], str]:
    """Return the report in JSON, and what stands on standard error."""
    done = run("secureboot", "verify", image, "--cert", keys.certificate, "--json")
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    assert (done.returncode == 0) is report["ok"]
    return report, done.stderr


def told(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(each["volume"], each["path"]) for each in report["binaries"]]


def iso(path: Path, tree: Path, *options: str | Path) -> Path:
    tool("xorrisofs", "-o", path, *options, "-no-emul-boot", tree)
    return path


APPENDED = ("-e", "--interval:appended_partition_2:all::", "-append_partition", "2", "0xef")
# Talos's own options for its SecureBoot ISO.
LIKE_TALOS = ("-partition_cyl_align", "all", "-partition_offset", "16")


def like_talos(folder: Path, esp: Path, tree: Path) -> Path:
    options = (*APPENDED, esp, *LIKE_TALOS, "-iso_mbr_part_type", "0x83", "-iso-level", "3")
    return iso(folder / "iso", tree, *options)


def as_gpt(folder: Path, esp: Path, tree: Path) -> Path:
    return iso(folder / "iso", tree, *APPENDED, esp, "-appended_part_as_gpt")


def inside(folder: Path, esp: Path, tree: Path) -> Path:
    esp.rename(tree / "efi.img")
    return iso(folder / "iso", tree, "-e", "efi.img", "-efi-boot-part", "--efi-boot-image")


def from_genisoimage(folder: Path, esp: Path, tree: Path) -> Path:
    esp.rename(tree / "efi.img")
    tool("genisoimage", "-quiet", "-R", "-J", "-e", "efi.img", "-no-emul-boot",
         "-o", folder / "iso", tree)  # fmt: skip
    return folder / "iso"


def with_a_bios_entry(folder: Path, esp: Path, tree: Path) -> Path:
    """Make an ISO whose first entry in the boot catalog is for a BIOS."""
    (tree / "bios.img").write_bytes(bytes(4096))
    bios = ("-b", "bios.img", "-no-emul-boot", "-boot-load-size", "4", "-eltorito-alt-boot")
    return iso(folder / "iso", tree, *bios, *APPENDED, esp)


ISOS: Mapping[str, tuple[Callable[[Path, Path, Path], Path], str, int]] = {
    "as Talos makes it": (like_talos, "MBR partition 2 (ESP)", 0),
    "with a GPT": (as_gpt, "GPT partition 2 (ESP)", 0),
    "inside of the ISO": (inside, "GPT partition 2 (ESP)", 0),
    # 40 MiB in sectors of 512 bytes, in 16 bits.
    "from genisoimage": (from_genisoimage, "El Torito image 1", 40 * MIB // 512 % (1 << 16)),
    "behind one for a BIOS": (with_a_bios_entry, "MBR partition 2 (ESP)", 0),
}


@pytest.mark.parametrize("kind", ISOS)
def test_isos(kind: str, files: Files, keys: Keys, tmp_path: Path) -> None:
    """The tree has the same files as the ESP, and one that no key has signed."""
    make, volume, load_size = ISOS[kind]
    esp = fat(tmp_path / "esp", files, "-F", "32")
    tree = write_tree(tmp_path / "tree", {**files, "EFI/tool.efi": pe_stub(), "boot/x.efi": b"MZ"})
    image = make(tmp_path, esp, tree)
    listed = tool("xorriso", "-indev", image, "-report_el_torito", "plain")
    (line,) = (line for line in listed.splitlines() if "boot img" in line and "UEFI" in line)
    assert int(line.split()[-2]) == load_size
    report, said = verified(image, keys)
    in_tree = [("ISO 9660 tree", path) for path in (LOADER, UKI, "EFI/tool.efi")]
    assert told(report) == [(volume, LOADER), (volume, UKI), *in_tree]
    assert report["problems"] == [
        "ISO 9660 tree: EFI/tool.efi: not signed",
        "ISO 9660 tree: loader/keys/auto: a machine that enrols these keys rejects EFI/tool.efi",
    ]
    assert all(problem in said for problem in report["problems"])
    assert [each["ok"] for each in report["keys"]] == [True, False]


def test_an_iso_without_a_boot_image(files: Files, keys: Keys, tmp_path: Path) -> None:
    """As copied to a stick it would boot; files that are none for firmware do not count."""
    tree = write_tree(tmp_path / "tree", {**files, "imagecache/blob/x": b"MZ"})
    report, _ = verified(iso(tmp_path / "iso", tree), keys)
    assert told(report) == [("ISO 9660 tree", LOADER), ("ISO 9660 tree", UKI)]
    assert report["ok"]
    done = run("secureboot", "verify", iso(tmp_path / "none", tmp_path / "tree" / "loader"))
    assert done.returncode == INPUT
    assert "found neither an EFI binary nor an EFI system partition, an El Torito" in done.stderr


# --- disks and FAT volumes --------------------------------------------------------------------


def fewer_clusters(volume: Path) -> None:
    """Make FAT32 end early, below the number of clusters that it should have."""
    data = volume.read_bytes()
    (table,) = struct.unpack_from("<L", data, 36)
    sectors = 32 + 2 * table + 60_000
    for sector in (0, 6):
        patch(volume, sector * 512 + 32, struct.pack("<L", sectors))


VOLUMES: Mapping[str, tuple[tuple[str, ...], int]] = {
    "FAT12": (("-F", "12"), 4 << 10),
    "FAT16": (("-F", "16"), 40 << 10),
    "FAT32": (("-F", "32"), 40 << 10),
    "FAT32 with one table": (("-F", "32", "-f", "1"), 40 << 10),
    "FAT32 of few clusters": (("-F", "32"), 40 << 10),
    "FAT16 of 4096-byte sectors": (("-F", "16", "-S", "4096", "-s", "1"), 40 << 10),
}


@pytest.mark.parametrize("kind", VOLUMES)
def test_a_volume_that_is_smaller_than_its_partition(
    kind: str, files: Files, keys: Keys, tmp_path: Path
) -> None:
    options, kib = VOLUMES[kind]
    volume = fat(tmp_path / "esp", files, *options, kib=kib)
    if kind == "FAT32 of few clusters":
        fewer_clusters(volume)
        assert "Warning: Filesystem is FAT32" in tool("fsck.fat", "-n", volume, status=None)
    disk = tmp_path / "disk"
    disk.touch()
    os.truncate(disk, (kib << 10) + 32 * MIB)
    tool("sgdisk", "-n1:2048:-10M", "-t1:ef00", "-c1:EFI", disk)
    with disk.open("r+b") as file:
        file.seek(MIB)
        file.write(volume.read_bytes())
    for image, name in ((disk, "GPT partition 1 (ESP)"), (volume, "FAT volume")):
        report, said = verified(image, keys)
        assert report["problems"] == report["warnings"] == []
        assert said == ""
        assert told(report) == [(name, LOADER), (name, UKI)]


@pytest.mark.parametrize(("kind", "name"), [("ef", " (ESP)"), ("0c", "")])
def test_sticks_with_an_mbr(kind: str, name: str, files: Files, keys: Keys, tmp_path: Path) -> None:
    volume = fat(tmp_path / "esp", files)
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(MIB) + volume.read_bytes())
    tool("sfdisk", disk, stdin=f"label: dos\nstart=2048, type={kind}\n".encode())
    report, _ = verified(disk, keys)
    assert told(report) == [(f"MBR partition 1{name}", LOADER), (f"MBR partition 1{name}", UKI)]
    assert report["ok"]


def test_a_stick_of_basic_data(files: Files, keys: Keys, tmp_path: Path) -> None:
    """Of several partitions that of type ESP counts; without one, every FAT volume does."""
    volume = fat(tmp_path / "esp", files)
    data = fat(tmp_path / "data", {"setup.exe": b"MZ"})
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(MIB) + volume.read_bytes() + data.read_bytes() + bytes(MIB))
    tool("sgdisk", "-n1:2048:+40M", "-t1:0700", "-n2:0:+40M", "-t2:0700", disk)
    report, _ = verified(disk, keys)
    assert [name for name, _ in told(report)] == ["GPT partition 1"] * 2 + ["GPT partition 2"]
    tool("sgdisk", "-t1:ef00", disk)
    report, _ = verified(disk, keys)
    assert told(report) == [("GPT partition 1 (ESP)", LOADER), ("GPT partition 1 (ESP)", UKI)]
    tool("sgdisk", "-t2:ef00", "-t1:0700", disk)
    patch(disk, 41 * MIB, bytes(512))
    done = run("secureboot", "verify", disk)
    assert done.returncode == INPUT
    assert "GPT partition 2 (ESP) is for UEFI, but has no FAT file system" in done.stderr


@pytest.mark.parametrize("bits", ["16", "32"])
def test_tables_that_differ(bits: str, files: Files, keys: Keys, tmp_path: Path) -> None:
    """A damaged copy is warned of: firmware reads the first. A damaged first one is an error."""
    volume = fat(tmp_path / "esp", files, "-F", bits)
    data = volume.read_bytes()
    (reserved,) = struct.unpack_from("<H", data, 14)
    sectors = struct.unpack_from("<L", data, 36)[0] if bits == "32" else data[22] | data[23] << 8
    first = reserved * 512
    entry = 3 * int(bits) // 8
    patch(volume, first + sectors * 512 + entry, b"\x33\x33")
    assert "FATs differ" in tool("fsck.fat", "-n", volume, status=None)
    report, said = verified(volume, keys)
    assert report["ok"]
    (warning,) = report["warnings"]
    assert warning.startswith("FAT volume: the copies of the file allocation table differ")
    assert said == f"warning: {volume}: {warning}\n"
    volume.write_bytes(data)
    table = data[first : first + sectors * 512]
    patch(volume, first + 2 * int(bits) // 8, b"\xf0\xff" * ((len(table) - 8) // 2))
    done = run("secureboot", "verify", volume)
    assert done.returncode == INPUT
    assert "the FAT file system at byte 0 is damaged" in done.stderr


def test_a_uki_in_pieces(keys: Keys, files: Files, tmp_path: Path) -> None:
    """A file system that was in use has files in several pieces."""
    volume = fat(tmp_path / "esp", {"hole": bytes(512)}, "-F", "16", "-s", "1", kib=8 << 10)
    tool("mcopy", "-i", volume, "-", "::/wall", stdin=bytes(512))
    tool("mdel", "-i", volume, "::/hole")
    source = tmp_path / "uki"
    source.write_bytes(files[UKI])
    tool("mcopy", "-i", volume, source, "::/uki.efi")
    assert len(tool("mshowfat", "-i", volume, "::/uki.efi").split("<")) > 2
    report, _ = verified(volume, keys)
    assert report["ok"]
    assert told(report) == [("FAT volume", "uki.efi")]


def test_a_loader_of_zeros_is_not_passed_over(files: Files, keys: Keys, tmp_path: Path) -> None:
    volume = fat(tmp_path / "esp", {**files, LOADER: bytes(8192)})
    report, _ = verified(volume, keys)
    assert told(report) == [("FAT volume", LOADER), ("FAT volume", UKI)]
    assert report["problems"][0] == (
        f"{LOADER}: not a valid PE32+ executable: it does not begin with MZ"
    )
