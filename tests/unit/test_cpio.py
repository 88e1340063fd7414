from __future__ import annotations

import pytest

from imager.distro import cpio

# buffer-format.rst: magic and 13 fields of 8 hexadecimal digits.
HEADER = 6 + 13 * 8


def entries() -> list[cpio.CpioEntry]:
    return [
        cpio.folder("dev"),
        cpio.character_device("dev/console", 5, 1),
        cpio.folder("bin"),
        cpio.file("bin/tool", b"\x7fELF!", mode=0o755),
        cpio.symlink("bin/sh", "tool"),
        cpio.file("empty", b""),
    ]


def fields(record: bytes) -> list[int]:
    return [int(record[start : start + 8], 16) for start in range(6, HEADER, 8)]


def test_a_record_has_the_fields_of_the_format() -> None:
    archive = cpio.cpio_archive([cpio.file("a", b"hello", mode=0o640)], epoch=0x12345678)
    assert archive[:6] == b"070701"
    assert fields(archive) == [1, 0o100640, 0, 0, 1, 0x12345678, 5, 0, 0, 0, 0, 2, 0]
    # Name and data each end on a multiple of four bytes from the start of the archive.
    assert archive[HEADER : HEADER + 2] == b"a\0"
    assert archive[HEADER + 2 : HEADER + 2 + 8] == b"hello\0\0\0"


def test_the_trailer_ends_the_archive() -> None:
    archive = cpio.cpio_archive([], epoch=7)
    assert fields(archive) == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 11, 0]
    assert archive[HEADER:] == b"TRAILER!!!\0\0\0\0"
    assert len(archive) % 4 == 0


def test_same_entries_give_the_same_bytes() -> None:
    first = cpio.cpio_archive(entries(), epoch=1_704_067_200)
    assert first == cpio.cpio_archive(entries(), epoch=1_704_067_200)
    assert first != cpio.cpio_archive(entries(), epoch=1_704_067_201)


@pytest.mark.parametrize(
    "path", ["", "/etc", "a//b", "../x", "bin/..", "./x", "nul\0", "no/parent"]
)
def test_a_path_that_the_kernel_would_misplace_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="cannot stand here"):
        cpio.cpio_archive([cpio.folder("bin"), cpio.file(path, b"")], epoch=0)


def test_a_path_comes_once() -> None:
    with pytest.raises(ValueError, match="cannot stand here"):
        cpio.cpio_archive([cpio.file("a", b"1"), cpio.file("a", b"2")], epoch=0)


@pytest.mark.parametrize("epoch", [-1, 1 << 32])
def test_a_time_that_does_not_fit_is_refused(epoch: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        cpio.cpio_archive([cpio.folder("bin")], epoch=epoch)
