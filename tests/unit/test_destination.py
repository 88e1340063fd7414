"""Where an output goes, and what is there already."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zstandard

from imager.image.destination import Replaced, check_replaceable, output_path
from imager.support.errors import InputError

DISK = "metal-amd64.raw.zst"


@pytest.mark.parametrize("given", [".", "out", "new/deep", "v1.9.0", "new.d"])
def test_a_folder_there_or_not(tmp_path: Path, given: str) -> None:
    (tmp_path / "out").mkdir()
    assert output_path(tmp_path / given, DISK) == tmp_path / given / DISK


@pytest.mark.parametrize(
    ("name", "given"),
    [
        (DISK, "edge.raw.zst"),
        ("metal-amd64.iso", "v1.9.0.iso"),
        ("metal-amd64-usb.img", "new/stick.img"),
        ("metal-amd64-uki.efi", "linux.efi"),
        ("initramfs-metal-amd64.xz", "initrd.xz"),
    ],
)
def test_a_file_that_ends_in_the_suffix(tmp_path: Path, name: str, given: str) -> None:
    assert output_path(tmp_path / given, name) == tmp_path / given


def test_a_folder_whose_name_has_the_suffix(tmp_path: Path) -> None:
    (tmp_path / "all.iso").mkdir()
    assert output_path(tmp_path / "all.iso", "x.iso") == tmp_path / "all.iso" / "x.iso"


def test_an_output_without_a_suffix_goes_to_a_folder(tmp_path: Path) -> None:
    assert output_path(tmp_path / "boot", "kernel-amd64") == tmp_path / "boot" / "kernel-amd64"


@pytest.mark.parametrize(
    ("name", "given", "message", "hint"),
    [
        (DISK, "edge.raw", "ends in .raw, and this output ends in .raw.zst", "edge.raw.zst"),
        (DISK, "edge.raw", "", "choose `output.outFormat: raw`"),
        ("metal-amd64.iso", "v1.9.img", "ends in .img", "name it v1.9.iso, or name a folder"),
        ("metal-amd64.raw", "edge.raw.zst", "ends in .raw.zst, and this", "name it edge.raw, or"),
        ("metal-amd64.iso", "Edge.ISO", "ends in .ISO, and this output ends", "name it Edge.iso,"),
        (
            "metal-amd64.iso",
            ".raw",
            "ends in .raw, and this output ends",
            "name it metal-amd64.iso",
        ),
        ("kernel-amd64", "kernel.efi", "this output has no suffix", "name it kernel, or"),
    ],
)
def test_another_kinds_suffix_is_refused(
    tmp_path: Path, name: str, given: str, message: str, hint: str
) -> None:
    with pytest.raises(InputError) as caught:
        output_path(tmp_path / given, name)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_something_else_that_exists_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(InputError, match=r"notes is not a folder, and not a file .* \.iso"):
        output_path(tmp_path / "notes", "x.iso")
    with pytest.raises(InputError, match="/dev/null is a character device") as caught:
        output_path(Path("/dev/null"), "x.iso")
    assert "for a pipe --output -" in caught.value.hint


def test_nothing_is_replaced(tmp_path: Path) -> None:
    assert check_replaceable(tmp_path / DISK, clobber=False) is None


@pytest.mark.parametrize("sector", [512, 4096])
@pytest.mark.parametrize("packed", [True, False])
def test_a_file_is_told_with_its_sectors(tmp_path: Path, sector: int, packed: bool) -> None:
    path = tmp_path / DISK
    disk = bytes(sector) + b"EFI PART" + bytes(10_000)
    path.write_bytes(zstandard.compress(disk) if packed else disk)
    os.utime(path, (0, 1_700_000_000.9))
    assert check_replaceable(path, clobber=True) == Replaced(
        path.stat().st_size, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), sector
    )
    with pytest.raises(InputError, match="exists already") as caught:
        check_replaceable(path, clobber=False)
    assert "--no-clobber" in caught.value.hint


@pytest.mark.parametrize("data", [b"", b"x", b"\x28\xb5\x2f\xfd cut off", b"\x1f\x8b"])
def test_a_file_that_is_no_disk_has_no_sectors(tmp_path: Path, data: bytes) -> None:
    (tmp_path / DISK).write_bytes(data)
    replaced = check_replaceable(tmp_path / DISK, clobber=True)
    assert replaced
    assert replaced.sector_size is None


@pytest.mark.parametrize(
    ("kind", "called"),
    [
        (Path.mkdir, "a folder"),
        (os.mkfifo, "a named pipe"),
        (lambda path: path.symlink_to("elsewhere"), "a symbolic link"),
        (lambda path: path.symlink_to("/dev/null"), "a symbolic link"),
    ],
)
def test_what_is_no_file_is_refused_by_name(tmp_path: Path, kind: object, called: str) -> None:
    assert callable(kind)
    kind(tmp_path / DISK)
    with pytest.raises(InputError, match=f"{DISK} is {called}, "):
        check_replaceable(tmp_path / DISK, clobber=True)
