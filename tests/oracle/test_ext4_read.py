"""Reading ext4 volumes: of mkfs.ext4 and ours, damaged in every way, with and without checksums."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imager.content.extents import Content
from imager.content.tree import File, Tree
from imager.formats.ext4.groups import is_ext4
from imager.formats.ext4.libext2fs import crc32c
from imager.formats.ext4.plan import plan_ext4
from imager.formats.ext4.read import open_ext4
from imager.support.errors import ImagerError, UnsupportedError
from imager.support.units import MIB
from tests.lib.tools.cli import tool
from tests.lib.tools.examples import edit_count
from tests.lib.tools.support import write_content
from tests.lib.volumes.foreign_volumes import (
    Image,
    below,
    edited,
    edits,
    metadata_offsets,
    odd_tree,
    patch,
    read,
    refusal_of,
    small_tree,
    survives,
    write_tree,
)

pytestmark = pytest.mark.oracle

UUID_ = UUID("c12a7328-f81f-81d2-ba4b-00a0c93ec93b")
SUPERBLOCK = 1024
FILE = 0o100644


def mkfs(path: Path, folder: Path, *options: str, size: str = "256K") -> Path:
    path.unlink(missing_ok=True)
    tool("mkfs.ext4", "-q", "-F", "-m0", "-d", folder, *options, path, size)
    return path


@pytest.fixture(scope="module", name="images")
def small_images(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image]:
    found = {}
    path = tmp_path_factory.mktemp("images") / "x.img"
    for features in ("metadata_csum", "^metadata_csum"):
        options = ("-b", "1024", "-N", "48", "-O", f"^has_journal,^resize_inode,{features}")
        mkfs(path, small_folder, *options)
        offsets = metadata_offsets(path.read_bytes(), open_ext4(path).files)
        found[features] = Image(path.read_bytes(), offsets)
    return found


@pytest.fixture(name="plain")
def without_checksums(images: dict[str, Image], tmp_path: Path) -> Path:
    path = tmp_path / "plain.img"
    path.write_bytes(images["^metadata_csum"].data)
    return path


def refusal(path: Path) -> ImagerError:
    return refusal_of(open_ext4, path)


def number(path: Path, name: str) -> int:
    """Return the inode of a file, told by debugfs."""
    said = tool("debugfs", "-R", f"stat /{name}", path)
    return int(said.split("Inode: ", 1)[1].split()[0])


def inode_offset(path: Path, name: str) -> int:
    """Return the byte at which a file's inode is."""
    said = tool("debugfs", "-R", f"imap /{name}", path).splitlines()[-1]
    block, offset = said.split("located at block ")[1].split(", offset ")
    return int(block) * 1024 + int(offset, 16)


def block_of(path: Path, name: str) -> int:
    """Return the byte at which a folder's only block is."""
    return int(tool("debugfs", "-R", f"blocks /{name}", path).splitlines()[-1].split()[0]) * 1024


def test_what_was_planned_comes_back(tmp_path: Path) -> None:
    files = [File(path, Content.of_bytes(data)) for path, data in odd_tree().items()]
    planned = plan_ext4(
        Tree.of(files), size=64 * MIB, label="X", uuid=UUID_, timestamp=1, scratch=tmp_path
    )
    path = write_content(planned.content, tmp_path / "x.img")
    assert read(open_ext4(path)) == odd_tree()
    assert read(open_ext4(path), "imagecache") == below(odd_tree(), "imagecache")


def test_a_volume_inside_of_a_file(images: dict[str, Image], tmp_path: Path) -> None:
    data = images["metadata_csum"].data
    path = tmp_path / "x.img"
    path.write_bytes(b"\xff" * 1536 + data + b"\xff" * 999)
    assert read(open_ext4(path, offset=1536, size=len(data))) == small_tree()
    assert is_ext4(data[:2048])
    assert not is_ext4(path.read_bytes()[:2048])
    assert not is_ext4(b"")


@pytest.mark.fuzz
@pytest.mark.parametrize("features", ["metadata_csum", "^metadata_csum"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=edit_count(150))
@given(data=st.data())
def test_damage_is_told_or_harmless(
    images: dict[str, Image], tmp_path: Path, features: str, data: st.DataObject
) -> None:
    image = images[features]
    changes = data.draw(edits(image.offsets))
    survives(edited(image.data, changes, tmp_path / "x.img"), open_ext4)


def test_checksums_tell_of_all_damage_to_what_is_read(
    images: dict[str, Image], tmp_path: Path
) -> None:
    """What no sum covers, or nobody reads (bitmaps, free inodes), may change and nothing else."""
    image = images["metadata_csum"]
    path = tmp_path / "x.img"
    unread = 0
    for offset in image.offsets[::7]:
        edited(image.data, [(offset, bytes([image.data[offset] ^ 0x5A]))], path)
        if survives(path, open_ext4):
            assert read(open_ext4(path)) == small_tree()
            unread += 1
    assert unread < len(image.offsets[::7]) / 2


def test_every_cut_is_noticed(images: dict[str, Image], tmp_path: Path) -> None:
    data, path = images["metadata_csum"].data, tmp_path / "x.img"
    for size in range(0, len(data), 509):
        path.write_bytes(data[:size])
        assert not survives(path, open_ext4)


def test_extents_of_every_kind(small_folder: Path, tmp_path: Path) -> None:
    """Written, reserved and missing blocks, in a tree of several levels."""
    path = mkfs(tmp_path / "x.img", small_folder, "-b", "1024", size="4M")
    source = tmp_path / "source"
    blocks = [bytes([at % 255 + 1]) * 1024 if at % 2 else bytes(1024) for at in range(800)]
    write_tree(tmp_path, {"source": b"".join(blocks)})
    with source.open("wb") as file:
        for at, block in enumerate(blocks):
            file.seek(at * 1024)
            if at % 2:
                file.write(block)
        file.truncate(800 * 1024)
    tool("debugfs", "-w", "-R", f"write {source} pieces", path)
    tool("debugfs", "-w", "-R", "fallocate pieces 0 20", path)
    tool("e2fsck", "-fn", path)
    said = tool("debugfs", "-R", "extents pieces", path)
    assert "Level" in said
    reserved = re.findall(r"(\d+) - +\d+ +\d+ Uninit", said)
    assert reserved
    for block in reserved:
        patch(path, int(block) * 1024, b"what was there before")
    assert read(open_ext4(path))["pieces"] == b"".join(blocks)


def test_links_are_told(small_folder: Path, tmp_path: Path) -> None:
    path = mkfs(tmp_path / "x.img", small_folder, "-b", "1024")
    tool("debugfs", "-w", "-R", "symlink imagecache/link ../other", path)
    tree = open_ext4(path)
    assert (len(tree.files), tree.others) == (len(small_tree()), ("imagecache/link",))


def test_hard_links_are_two_files(small_folder: Path, tmp_path: Path) -> None:
    path = mkfs(tmp_path / "x.img", small_folder, "-b", "1024")
    tool("debugfs", "-w", "-R", "ln other/file twin", path)
    assert read(open_ext4(path))["twin"] == b"other"


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("inline_data", "uses unsupported features: 0x8000"),
        ("encrypt", "uses unsupported features: 0x10000"),
        ("casefold", "uses unsupported features: 0x20000"),
    ],
)
def test_features_that_are_not_read(
    small_folder: Path, tmp_path: Path, features: str, message: str
) -> None:
    error = refusal(mkfs(tmp_path / "x.img", small_folder, "-b", "1024", "-O", features))
    assert isinstance(error, UnsupportedError)
    assert message in error.message
    assert error.hint


def test_block_maps_are_not_supported(tmp_path: Path, small_folder: Path) -> None:
    path = tmp_path / "x.img"
    tool("mkfs.ext2", "-q", "-F", "-d", small_folder, path, "1M")
    error = refusal(path)
    assert isinstance(error, UnsupportedError)
    assert "has no extents" in error.message


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (0x60, 0x2 | 0x4 | 0x40, "journal must be replayed"),
        (0x3A, 0, "is not clean"),
        (0x3A, 3, "is not clean"),
    ],
)
def test_volumes_in_use_are_to_be_repaired(
    plain: Path, offset: int, value: int, message: str
) -> None:
    patch(plain, SUPERBLOCK + offset, struct.pack("<H", value))
    error = refusal(plain)
    assert isinstance(error, UnsupportedError)
    assert message in error.message
    assert "e2fsck -fy" in error.hint


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (0x18, struct.pack("<I", 6)),
        (0x18, struct.pack("<I", 0xFFFFFFFF)),
    ],
)
def test_block_sizes_that_are_not_read(plain: Path, offset: int, value: bytes) -> None:
    patch(plain, SUPERBLOCK + offset, value)
    assert isinstance(refusal(plain), UnsupportedError)


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (0x00, b"\xff" * 4),
        (0x00, bytes(4)),
        (0x04, b"\xff" * 4),
        (0x04, bytes(4)),
        (0x14, b"\xff" * 4),
        (0x20, bytes(4)),
        (0x20, b"\1\0\0\0"),
        (0x28, bytes(4)),
        (0x28, b"\xff" * 4),
        (0x58, bytes(2)),
        (0x58, b"\xff\xff"),
        (0x58, b"\xc8\0"),
        (0xFE, bytes(2)),
        (0xFE, b"\xff\xff"),
        (0x150, b"\xff" * 4),
    ],
)
def test_superblocks_that_are_impossible(plain: Path, offset: int, value: bytes) -> None:
    patch(plain, SUPERBLOCK + offset, value)
    assert "is damaged" in refusal(plain).message


def with_extents(path: Path, name: str, *entries: bytes, depth: int = 0, most: int = 4) -> None:
    """Give a file an extent tree with `entries` in its root."""
    header = struct.pack("<HHHHI", 0xF30A, len(entries), most, depth, 0)
    patch(path, inode_offset(path, name) + 40, header + b"".join(entries))


def extent(logical: int, count: int, start: int) -> bytes:
    return struct.pack("<IHHI", logical, count, start >> 32, start & 0xFFFFFFFF)


BIG = "imagecache/blob/sha256-" + f"{0:064x}"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([extent(0, 1, 256)], "outside of"),
        ([extent(0, 1, (1 << 48) - 1)], "outside of"),
        ([extent(0, 0, 100)], "not in order"),
        ([extent(1, 1, 100), extent(0, 1, 101)], "not in order"),
        ([extent(0, 2, 100), extent(1, 1, 101)], "not in order"),
        ([extent(0, 1, 100)] * 2, "not in order"),
    ],
)
def test_hostile_extents(plain: Path, entries: list[bytes], message: str) -> None:
    with_extents(plain, BIG, *entries)
    assert message in refusal(plain).message


def test_extent_trees_that_have_no_room(plain: Path) -> None:
    with_extents(plain, BIG, extent(0, 1, 100), most=5)
    assert "damaged extent tree" in refusal(plain).message
    with_extents(plain, BIG, extent(0, 1, 100), most=0)
    assert "damaged extent tree" in refusal(plain).message


def test_extent_trees_that_lead_back(plain: Path) -> None:
    """A node that names itself must end, since each level is one less."""
    place = 200
    node = struct.pack("<HHHHI", 0xF30A, 84, 84, 4, 0)
    patch(plain, place * 1024, node + struct.pack("<IIHH", 0, place, 0, 0) * 84)
    index = struct.pack("<IIHH", 0, place, 0, 0)
    with_extents(plain, BIG, index, depth=5)
    assert "invalid depth" in refusal(plain).message
    with_extents(plain, BIG, index, depth=6)
    assert "invalid depth" in refusal(plain).message
    with_extents(plain, BIG, struct.pack("<IIHH", 0, 256, 0, 0), depth=1)
    assert "outside of the volume" in refusal(plain).message
    with_extents(plain, BIG, struct.pack("<IIHH", 0, 255, 0, 0), depth=1)
    assert "damaged extent tree" in refusal(plain).message


def test_a_tree_whose_leaves_are_all_one(plain: Path) -> None:
    leaf = struct.pack("<HHHHI", 0xF30A, 1, 84, 0, 0) + extent(0, 1, 100)
    patch(plain, 200 * 1024, leaf)
    with_extents(plain, BIG, *[struct.pack("<IIHH", 0, 200, 0, 0)] * 4, depth=1)
    assert "not in order" in refusal(plain).message


def test_sizes_that_are_absurd(plain: Path) -> None:
    at = inode_offset(plain, BIG)
    patch(plain, at + 108, b"\xff" * 4)
    assert "its files are larger than" in refusal(plain).message
    patch(plain, at + 108, bytes(4))
    patch(plain, inode_offset(plain, "other") + 4, struct.pack("<I", 1 << 31))
    assert "truncated" in refusal(plain).message


def record(inode: int, length: int, name: bytes, *, name_length: int | None = None) -> bytes:
    size = len(name) if name_length is None else name_length
    return struct.pack("<IHBB", inode, length, size, 0) + name


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (record(12, 1024, b"a/b"), "is invalid"),
        (record(12, 1024, b"a\0b"), "is invalid"),
        (record(12, 1024, b""), "is invalid"),
        (record(12, 0, b"a"), "invalid record"),
        (record(12, 4, b"a"), "invalid record"),
        (record(12, 8, b"a"), "invalid record"),
        (record(12, 1022, b"a"), "invalid record"),
        (record(12, 1028, b"a"), "invalid record"),
        (record(0, 1020, b""), "truncated"),
        (record(12, 12, b"a", name_length=5), "invalid record"),
        (record(0xFFFFFFFF, 1024, b"a"), "does not exist"),
        (record(49, 1024, b"a"), "does not exist"),
        (record(40, 1024, b"a"), "not in use"),
        (record(2, 1024, b"a"), "two places"),
    ],
)
def test_hostile_folders(plain: Path, data: bytes, message: str) -> None:
    patch(plain, block_of(plain, "other"), data)
    assert message in refusal(plain).message


def test_names_that_are_there_twice(plain: Path) -> None:
    inode = number(plain, "other/file")
    twice = record(inode, 12, b"a".ljust(4, b"\0"), name_length=1) + record(inode, 1012, b"a")
    patch(plain, block_of(plain, "other"), twice)
    assert "twice" in refusal(plain).message


def test_a_folder_with_a_hole(plain: Path) -> None:
    start = block_of(plain, "other") // 1024
    with_extents(plain, "other", extent(1, 1, start))
    assert "has a hole" in refusal(plain).message


def test_a_root_that_is_no_folder(plain: Path) -> None:
    patch(plain, inode_offset(plain, "."), struct.pack("<H", FILE))
    assert "its root is not a folder" in refusal(plain).message


@pytest.mark.parametrize(
    ("flag", "name"), [(0x800, "encrypted"), (0x10000000, "inline"), (0x4, "compressed")]
)
def test_files_that_are_kept_otherwise(plain: Path, flag: int, name: str) -> None:
    patch(plain, inode_offset(plain, BIG) + 32, struct.pack("<I", 0x80000 | flag))
    assert isinstance(refusal(plain), UnsupportedError), name


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (lambda _: SUPERBLOCK + 0x78, "the superblock does not match its checksum"),
        (lambda _: 2048 + 0x1E, "block group 0 does not match its checksum"),
        (lambda path: inode_offset(path, BIG) + 8, "does not match its checksum"),
        (lambda path: block_of(path, "other") + 8 + 16, "the folder of inode"),
    ],
    ids=["superblock", "group", "inode", "folder"],
)
def test_each_checksum_counts(
    images: dict[str, Image], tmp_path: Path, place: Callable[[Path], int], message: str
) -> None:
    path = tmp_path / "x.img"
    path.write_bytes(images["metadata_csum"].data)
    at = place(path)
    patch(path, at, bytes([path.read_bytes()[at] ^ 1]))
    assert message in refusal(path).message


def test_the_checksum_of_an_extent_tree_counts(small_folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        for at in range(0, 20, 2):
            file.seek(at * 1024)
            file.write(b"x" * 1024)
    path = mkfs(tmp_path / "x.img", small_folder, "-b", "1024", size="1M")
    tool("debugfs", "-w", "-R", f"write {source} pieces", path)
    assert read(open_ext4(path))["pieces"] == source.read_bytes()
    said = tool("debugfs", "-R", "ex pieces", path).splitlines()
    node = next(int(line.split()[7]) for line in said if line.split()[0] == "0/")
    patch(path, node * 1024 + 12 + 4, struct.pack("<H", 2))
    assert "the extent tree of inode" in refusal(path).message


def test_checksums_begin_with_their_own_seed(small_folder: Path, tmp_path: Path) -> None:
    path = mkfs(tmp_path / "x.img", small_folder, "-b", "1024", "-O", "metadata_csum_seed")
    tool("tune2fs", "-U", str(UUID_), path)
    assert read(open_ext4(path)) == small_tree()


def test_crc32c_goes_on_from_a_seed() -> None:
    assert crc32c(b"56789", crc32c(b"1234")) ^ 0xFFFFFFFF == 0xE3069283
    assert crc32c(b"123456789") == crc32c(b"56789", crc32c(b"1234"))
