"""Reading foreign FAT volumes: of mkfs.fat, mtools and ours, damaged in every way."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imager.content.extents import Content
from imager.content.tree import File, Tree
from imager.formats.fat import geometry
from imager.formats.fat import read as fat_foreign
from imager.formats.fat.geometry import is_fat
from imager.formats.fat.plan import minimum_fat_size, plan_fat
from imager.formats.fat.read import open_fat
from imager.support.errors import ImagerError, InputError, UnsupportedError
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

# FAT16 has its root before the data, FAT12 entries of three half bytes.
KINDS = {
    "12": (1 * MIB, ("-F", "12", "-s", "1")),
    "16": (4 * MIB, ("-F", "16", "-s", "1")),
    "32": (34 * MIB, ("-F", "32", "-s", "1")),
}
_FOLDER = 0x10


def mkfs(path: Path, size: int, *options: str) -> Path:
    path.unlink(missing_ok=True)
    path.touch()
    with path.open("r+b") as file:
        file.truncate(size)
    tool("mkfs.fat", *options, path)
    return path


def filled(path: Path, folder: Path, size: int, *options: str) -> Path:
    mkfs(path, size, *options)
    tool("mcopy", "-s", "-i", path, *sorted(folder.iterdir()), "::")
    return path


@pytest.fixture(scope="module", name="images")
def small_images(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image]:
    found = {}
    for kind, (size, options) in KINDS.items():
        path = filled(tmp_path_factory.mktemp("image") / "x.img", small_folder, size, *options)
        offsets = metadata_offsets(path.read_bytes(), open_fat(path).files)
        found[kind] = Image(path.read_bytes(), offsets)
    return found


@pytest.fixture(name="fat16")
def small_fat16(images: dict[str, Image], tmp_path: Path) -> Path:
    path = tmp_path / "x.img"
    path.write_bytes(images["16"].data)
    return path


def refusal(path: Path) -> ImagerError:
    return refusal_of(open_fat, path)


def record_of(path: Path, alias: bytes) -> int:
    """Return the byte at which the record with an 8.3 name stands."""
    return path.read_bytes().index(alias)


@pytest.mark.parametrize("sector_size", [512, 4096])
def test_what_was_planned_comes_back(tmp_path: Path, sector_size: int) -> None:
    files = [File(path, Content.of_bytes(data)) for path, data in odd_tree().items()]
    planned = plan_fat(
        Tree.of(files),
        size=minimum_fat_size(Tree.of(files), sector_size=sector_size),
        label="TALOS_1",
        volume_id=1,
        timestamp=1_700_000_000,
        sector_size=sector_size,
    )
    path = write_content(planned.content, tmp_path / "x.img")
    assert read(open_fat(path)) == odd_tree()
    assert read(open_fat(path, folder="IMAGECACHE")) == below(odd_tree(), "imagecache")


@pytest.mark.parametrize("kind", KINDS)
def test_what_mtools_wrote_comes_back(images: dict[str, Image], tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.img"
    data = images[kind].data
    path.write_bytes(b"\xff" * 512 + data + b"\xff" * 99)
    assert read(open_fat(path, offset=512, size=len(data))) == small_tree()
    assert is_fat(data[:512])
    assert not is_fat(path.read_bytes()[:512])
    assert not is_fat(b"")


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", ["12", "16"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=edit_count(125))
@given(data=st.data())
def test_damage_is_told_or_harmless(
    images: dict[str, Image], tmp_path: Path, kind: str, data: st.DataObject
) -> None:
    image = images[kind]
    survives(edited(image.data, data.draw(edits(image.offsets)), tmp_path / "x.img"), open_fat)


@pytest.mark.fuzz
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=edit_count(125))
@given(data=st.data())
def test_damage_to_fat32_is_told_or_harmless(
    images: dict[str, Image], tmp_path: Path, data: st.DataObject
) -> None:
    """The volume is sparse, and changed where it lies: it would be large to write each time."""
    image, path = images["32"], tmp_path / "x.img"
    if not path.exists():
        path.write_bytes(image.data)
    changes = data.draw(edits(image.offsets))
    for offset, value in changes:
        patch(path, offset, value)
    survives(path, open_fat)
    for offset, value in changes:
        patch(path, offset, image.data[offset : offset + len(value)])


@pytest.mark.parametrize("kind", ["12", "16"])
def test_cuts_are_noticed(images: dict[str, Image], tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.img"
    path.write_bytes(images[kind].data[:-1])
    assert "truncated" in refusal(path).message
    path.write_bytes(images[kind].data[:511])
    assert "outside of the volume" in refusal(path).message


def test_files_in_many_pieces(tmp_path: Path) -> None:
    """Every second file is deleted, and a large one takes the clusters that are free."""
    folder = write_tree(tmp_path / "tree", {f"{n:03}": b"%d" % n * 400 for n in range(200)})
    path = filled(tmp_path / "x.img", folder, 1 * MIB, "-F", "12", "-s", "1")
    tool("mdel", "-i", path, *(f"::{number:03}" for number in range(0, 200, 2)))
    big = tmp_path / "big"
    big.write_bytes(bytes(range(1, 256)) * 2000)
    tool("mcopy", "-i", path, big, "::")
    pieces = {file.path: len(file.content.extents) for file in open_fat(path).files}
    assert pieces["big"] > 50
    found = read(open_fat(path))
    assert found.pop("big") == big.read_bytes()
    assert sorted(found) == [f"{number:03}" for number in range(1, 200, 2)]


def test_names_as_windows_keeps_them(tmp_path: Path) -> None:
    """8.3 names in one case have no long name, but two bits; a damaged long name does not count."""
    names = ["lower.txt", "UPPER.TXT", "stem.TXT", "ENDING.txt", "Mixed.txt", "plain"]
    folder = write_tree(tmp_path / "tree", {name: name.encode() for name in names})
    path = filled(tmp_path / "x.img", folder, 1 * MIB, "-F", "12")
    assert sorted(read(open_fat(path))) == sorted(names)
    at = record_of(path, b"MIXED   TXT")
    patch(path, at - 32 + 13, b"\0")
    assert "MIXED.TXT" in read(open_fat(path))
    patch(path, at, b"\x05")
    assert "\u03c3IXED.TXT" in read(open_fat(path))
    patch(path, at, b"\xe5")
    assert len(read(open_fat(path))) == len(names) - 1


def test_labels_and_deleted_files_are_no_files(small_folder: Path, tmp_path: Path) -> None:
    path = filled(tmp_path / "x.img", small_folder, 16 * MIB, "-F", "16", "-n", "LABEL")
    tool("mdel", "-i", path, "::other/file")
    files = {name: data for name, data in small_tree().items() if name != "other/file"}
    assert read(open_fat(path)) == files


def test_a_stale_free_count_does_not_matter(images: dict[str, Image], tmp_path: Path) -> None:
    path = tmp_path / "x.img"
    path.write_bytes(images["32"].data)
    patch(path, 512 + 488, b"\xff" * 8)
    assert read(open_fat(path)) == small_tree()


def test_the_table_that_is_active_counts(images: dict[str, Image], tmp_path: Path) -> None:
    path = tmp_path / "x.img"
    path.write_bytes(images["32"].data)
    (reserved,) = struct.unpack_from("<H", images["32"].data, 14)
    patch(path, reserved * 512 + 8, b"\0" * 400)
    assert "refers to cluster 0" in refusal(path).message
    patch(path, 40, struct.pack("<H", 0x81))
    assert read(open_fat(path)) == small_tree()
    patch(path, 40, struct.pack("<H", 0x82))
    assert "does not cover" in refusal(path).message


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (11, b"\0\0"),
        (11, b"\1\2"),
        (13, b"\0"),
        (13, b"\3"),
        (14, b"\0\0"),
        (14, b"\xff\xff"),
        (16, b"\0"),
        (16, b"\3"),
        (17, b"\1\0"),
        (17, b"\xff\xff"),
        (19, b"\xff\xff"),
        (19, b"\1\0"),
        (21, b"\0"),
        (22, b"\xff\xff"),
        (22, b"\1\0"),
        (510, b"\0"),
    ],
)
def test_boot_sectors_that_are_impossible(fat16: Path, offset: int, value: bytes) -> None:
    patch(fat16, offset, value)
    assert isinstance(refusal(fat16), InputError)


def first_table(path: Path) -> int:
    return int(struct.unpack_from("<H", path.read_bytes(), 14)[0]) * 512


def cluster_of(path: Path, alias: bytes) -> int:
    return int(struct.unpack_from("<H", path.read_bytes(), record_of(path, alias) + 26)[0])


@pytest.mark.parametrize("value", [0, 1, 0xFFFF, 0xFFF7, 0xFFF8])
def test_chains_that_lead_nowhere(fat16: Path, value: int) -> None:
    """The second cluster of a file of two is one that there is not."""
    at = record_of(fat16, b"SHA256~1   ")
    patch(
        fat16, first_table(fat16) + 2 * cluster_of(fat16, b"SHA256~1   "), struct.pack("<H", value)
    )
    patch(fat16, at + 28, struct.pack("<I", 700))
    assert "which does not exist" in refusal(fat16).message


def test_chains_that_come_back(fat16: Path) -> None:
    """A file's ends with its size; a folder's would not."""
    first = cluster_of(fat16, b"SHA256~1   ")
    patch(fat16, first_table(fat16) + 2 * first, struct.pack("<H", first))
    patch(fat16, record_of(fat16, b"SHA256~1   ") + 28, struct.pack("<I", 5000))
    (data,) = (data for data in read(open_fat(fat16)).values() if len(data) == 5000)
    assert data == (data[:512] * 10)[:5000]
    folder = cluster_of(fat16, b"BLOB       ")
    patch(fat16, first_table(fat16) + 2 * folder, struct.pack("<H", folder))
    assert "twice" in refusal(fat16).message


def test_sizes_that_are_absurd(fat16: Path) -> None:
    patch(fat16, record_of(fat16, b"SHA256~1   ") + 28, b"\xff" * 4)
    assert "its files are larger than" in refusal(fat16).message


def test_folders_that_contain_themselves(fat16: Path) -> None:
    own = cluster_of(fat16, b"OTHER      ")
    at = record_of(fat16, b"FILE       ")
    patch(fat16, at + 11, bytes([_FOLDER]))
    for cluster, message in (
        (own, "two places"),
        (0, "two places"),
        (0xFFF0, "which does not exist"),
    ):
        patch(fat16, at + 26, struct.pack("<H", cluster))
        assert message in refusal(fat16).message


@pytest.mark.parametrize("name", ["a/b", "/", "a\0b"])
def test_names_that_lead_elsewhere(fat16: Path, name: str) -> None:
    at = record_of(fat16, b"FILE       ")
    patch(fat16, at, name.encode().ljust(8))
    patch(fat16, at + 12, b"\0")
    assert "is invalid" in refusal(fat16).message


def test_folders_without_end(fat16: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fat_foreign, "_LARGEST_FOLDER", 511)
    assert "or a loop" in refusal(fat16).message


def test_tables_that_are_too_large(fat16: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometry, "_LARGEST_TABLE", 1000)
    error = refusal(fat16)
    assert isinstance(error, UnsupportedError)
    assert error.hint
