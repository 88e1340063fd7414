from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from uuid import UUID

import pytest

from imager.content.extents import Content, Data, Extent, FileRange
from imager.content.tree import File, Tree, VolumePlan
from imager.formats.errors import VolumeTooSmallError
from imager.formats.ext4 import libext2fs
from imager.formats.ext4.directories import directories_of, directory_block_count, directory_blocks
from imager.formats.ext4.plan import minimum_ext4_size, plan_ext4, smallest
from imager.support.errors import DependencyError, HostError, InputError
from imager.support.units import GIB, MIB
from tests.lib.tools.support import content_bytes, largest_file

ID = UUID("c12a7328-f81f-81d2-ba4b-00a0c93ec93b")
EPOCH = 1_704_067_200


def plan(files: list[File], scratch: Path, *, size: int = 16 * MIB) -> VolumePlan:
    return plan_ext4(
        Tree.of(files), size=size, label="CACHE", uuid=ID, timestamp=EPOCH, scratch=scratch
    )


def named(count: int, size: int) -> list[File]:
    return [File(f"blob/sha256-{index:064x}", Content(size)) for index in range(count)]


def test_data_extents_point_at_the_sources_and_tails_are_holes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(10_000))
    planned = plan([File("a/b", Content.of_file(source))], tmp_path)
    (place,) = planned.files
    assert (place.path, place.length, place.offset % 4096) == ("a/b", 10_000, 0)
    kept = [extent for extent in planned.content.extents if extent.source == FileRange(source)]
    assert kept == [Extent(place.offset, 10_000, FileRange(source))]
    tail = planned.content.slice(place.offset + 10_000, 3 * 4096 - 10_000)
    assert tail.extents == ()


def test_files_stand_in_the_given_order_without_gaps(tmp_path: Path) -> None:
    files = [File(name, Content(5000)) for name in ("z", "b/c", "a", "b/a")]
    places = plan(files, tmp_path).files
    assert [place.path for place in places] == ["z", "b/c", "a", "b/a"]
    first = places[0].offset
    assert [place.offset - first for place in places] == [0, 8192, 16384, 24576]


def test_metadata_is_small_and_the_empty_journal_is_no_data(tmp_path: Path) -> None:
    planned = plan(named(100, 20 * MIB), tmp_path, size=4 * GIB)
    assert all(isinstance(extent.source, Data) for extent in planned.content.extents)
    assert planned.content.data_size < MIB


@pytest.mark.parametrize("size", [10 * MIB + 1, 129 * MIB, 4 << 40])
def test_the_plan_is_as_large_as_asked(tmp_path: Path, size: int) -> None:
    planned = plan(named(3, 1), tmp_path, size=size)
    assert planned.content.size == size
    assert planned.content.data_size < 64 * MIB


def test_scratch_is_left_empty(tmp_path: Path) -> None:
    plan(named(3, 1), tmp_path)
    with pytest.raises(VolumeTooSmallError):
        plan(named(3, 16 * MIB), tmp_path)
    minimum_ext4_size(Tree.of(named(3, 1)), scratch=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_empty_files_have_no_place(tmp_path: Path) -> None:
    assert plan([File("empty", Content(0))], tmp_path).files[0].offset == 0


@pytest.mark.parametrize(
    "path",
    ["n" * 256, "lost+found", "lost+found/x", "\udc80"],
)
def test_unusable_names_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(InputError, match="ext4"):
        plan([File(path, Content(1))], tmp_path)


@pytest.mark.parametrize("size", [1 << 60, -1])
def test_unusable_sizes_are_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(InputError) as caught:
        plan([], tmp_path, size=size)
    assert not isinstance(caught.value, VolumeTooSmallError)


@pytest.mark.parametrize("size", [0, 4096, MIB, 8 * MIB])
def test_too_small_for_the_file_system_itself(tmp_path: Path, size: int) -> None:
    with pytest.raises(VolumeTooSmallError, match="do not fit"):
        plan([], tmp_path, size=size)


def test_full_says_how_much_is_missing(tmp_path: Path) -> None:
    with pytest.raises(
        VolumeTooSmallError, match=r"at least 1\d\.\d MiB more are needed"
    ) as caught:
        plan(named(1, 20 * MIB), tmp_path, size=12 * MIB)
    assert caught.value.exit_code == 2
    assert caught.value.hint


@pytest.mark.parametrize(
    "files",
    [
        [],
        named(1, 1),
        named(300, 100_000),
        named(5000, 4097),
        named(7, 23 * MIB),
        [File("large", Content(5 * GIB))],
    ],
    ids=["none", "one", "300", "5000", "128 MiB and more", "5 GiB"],
)
def test_the_minimum_works_and_one_step_less_does_not(tmp_path: Path, files: list[File]) -> None:
    least = minimum_ext4_size(Tree.of(files), scratch=tmp_path)
    assert least % MIB == 0
    plan(files, tmp_path, size=least)
    with pytest.raises(VolumeTooSmallError):
        plan(files, tmp_path, size=least - MIB)


def test_the_minimum_in_fine_steps(tmp_path: Path) -> None:
    files = named(40, 1_000_000)
    coarse = minimum_ext4_size(Tree.of(files), scratch=tmp_path)
    fine = minimum_ext4_size(Tree.of(files), scratch=tmp_path, granularity=4096)
    assert coarse - MIB < fine <= coarse
    with pytest.raises(VolumeTooSmallError):
        plan(files, tmp_path, size=fine - 4096)


def test_what_fits_fits_in_every_larger_volume(tmp_path: Path) -> None:
    files = named(20, 250_000)
    least = minimum_ext4_size(Tree.of(files), scratch=tmp_path) // MIB
    for size in [*range(least, least + 40), *range(126, 132), *range(254, 260)]:
        plan(files, tmp_path, size=size * MIB)


@pytest.mark.parametrize("guess", [1, 2, 36, 37, 38, 60, 1000])
def test_smallest_finds_the_boundary_from_any_guess(guess: int) -> None:
    tried: list[int] = []

    def fits(count: int) -> bool:
        tried.append(count)
        return count >= 37

    assert smallest(fits, guess=guess) == 37
    assert len(tried) == len(set(tried)) < 25


def directory_names(block: bytes) -> list[tuple[int, bytes, int]]:
    """Read a directory block as the kernel's documentation describes it."""
    names, at = [], 0
    while at < 4096:
        inode, length, name_length, kind = struct.unpack_from("<IHBB", block, at)
        assert length % 4 == 0
        assert length >= 8 + name_length
        names.append((inode, block[at + 8 : at + 8 + name_length], kind))
        at += length
    assert at == 4096
    assert names.pop() == (0, b"", 0xDE)
    return names


def test_directory_blocks_hold_every_name_once() -> None:
    paths = [f"d/{index}{'n' * (index % 252)}" for index in range(100, 400)]
    tree = directories_of(Tree.of(File(path, Content(0)) for path in paths))
    inodes = {"": 2, "lost+found": 11, "d": 12}
    inodes |= {path: number for number, path in enumerate(paths, start=20)}
    blocks = list(directory_blocks("d", tree["d"], inodes=inodes))
    names = [name for block in blocks for name in directory_names(block)]
    expected = [(number, path[2:].encode(), 1) for number, path in enumerate(paths, start=20)]
    assert names == [(12, b".", 2), (2, b"..", 2), *expected]
    assert len(blocks) == directory_block_count(tree["d"]) > 5
    root = directory_names(next(directory_blocks("", tree[""], inodes=inodes)))
    assert root == [(2, b".", 2), (2, b"..", 2), (11, b"lost+found", 2), (12, b"d", 2)]


def test_inode_is_as_large_as_on_disk() -> None:
    assert ctypes.sizeof(libext2fs.Inode) == 160
    assert libext2fs.Inode.i_checksum_hi.offset == 0x82
    assert libext2fs.Inode.i_crtime.offset == 0x90


@pytest.mark.parametrize("time", [1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 4_354_819_198])
def test_times_past_2038(time: int) -> None:
    inode = libext2fs.Inode()
    inode.set_times(time)
    signed = struct.unpack("<i", struct.pack("<I", inode.i_mtime))[0]
    assert signed + ((inode.i_mtime_extra & 3) << 32) == time


def test_a_file_that_is_no_file_system_is_an_error(tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(bytes(MIB))
    with pytest.raises(DependencyError, match="libext2fs"), libext2fs.open_file_system(bad):
        pass


def test_a_scratch_disk_without_files_so_large_is_named(tmp_path: Path) -> None:
    with largest_file(MIB), pytest.raises(HostError, match="File too large"):
        plan([], tmp_path)


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    libext2fs._library.cache_clear()
    with pytest.raises(DependencyError) as caught:
        libext2fs.crc32c(b"")
    assert caught.value.hint == "apt-get install e2fsprogs"


def test_crc32c_has_the_published_value() -> None:
    # RFC 3720, B.4: 32 bytes of zeros give aa 36 91 8a.
    assert libext2fs.crc32c(bytes(32)) ^ 0xFFFFFFFF == 0x8A9136AA


def test_contents_reach_their_place(tmp_path: Path) -> None:
    data = os.urandom(9000)
    planned = plan([File("f", Content.of_bytes(data))], tmp_path)
    offset = planned.files[0].offset
    assert content_bytes(planned.content)[offset : offset + 9000] == data
