"""Volumes made by the tools of others, read back: what their writers put in comes out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imager.formats.ext4.read import open_ext4
from imager.formats.fat.read import open_fat
from imager.formats.iso9660.read import open_iso9660
from imager.support.errors import ImagerError
from tests.lib.caches.sparse import GIB
from tests.lib.tools.cli import MIB, tool
from tests.lib.tools.examples import edit_count
from tests.lib.volumes.foreign_volumes import (
    below,
    edited,
    edits,
    metadata_offsets,
    odd_tree,
    read,
    small_tree,
    survives,
    write_tree,
)

pytestmark = pytest.mark.oracle

TREE = odd_tree()
XORRISO = ("xorriso", "-as", "mkisofs", "-quiet")
GENISOIMAGE = ("genisoimage", "-quiet", "-input-charset", "utf-8")
ISOS: Mapping[str, tuple[str, ...]] = {
    "xorriso": (*XORRISO, "-o"),
    "xorriso-owned-by-root": (*XORRISO, "-r", "-J", "-iso-level", "3", "-o"),
    "xorriso-partitions": (*XORRISO, "-partition_offset", "16", "-o"),
    "genisoimage": (*GENISOIMAGE, "-R", "-o"),
    "genisoimage-deep": (*GENISOIMAGE, "-R", "-D", "-J", "-joliet-long", "-o"),
    "genisoimage-hard-links": (*GENISOIMAGE, "-r", "-U", "-cache-inodes", "-o"),
    "grub-mkrescue": ("grub-mkrescue", "-o"),
}


@pytest.fixture(scope="module", name="folder")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("source"), TREE)


@pytest.fixture(scope="module", name="small")
def small_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("small"), small_tree())


def make_iso(kind: str, folder: Path, path: Path) -> Path:
    tool(*ISOS[kind], path, folder)
    return path


def make_ext4(path: Path, folder: Path, *options: str, size: int = 64 * MIB) -> Path:
    tool("mkfs.ext4", "-q", "-F", *options, "-d", folder, path, f"{size >> 10}K")
    return path


@pytest.mark.parametrize("kind", ISOS)
def test_isos(folder: Path, tmp_path: Path, kind: str) -> None:
    path = make_iso(kind, folder, tmp_path / "x.iso")
    assert read(open_iso9660(path), "imagecache") == below(TREE, "imagecache")
    assert read(open_iso9660(path), "other") == below(TREE, "other")


def test_isos_with_joliet_alone(folder: Path, tmp_path: Path) -> None:
    """Joliet has 103 letters at most, which is more than a blob's name."""
    path = tmp_path / "x.iso"
    tool(*GENISOIMAGE, "-D", "-J", "-joliet-long", "-o", path, folder)
    found = read(open_iso9660(path), "imagecache")
    wanted = below(TREE, "imagecache")
    assert found.pop("n" * 103) == wanted.pop("n" * 250)
    assert found == wanted


def test_isos_with_plain_names_alone(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.iso"
    tool("genisoimage", "-quiet", "-D", "-iso-level", "4", "-o", path, small)
    assert read(open_iso9660(path)) == small_tree()


def test_a_file_above_4_gib_in_several_sections(tmp_path: Path) -> None:
    size, place = 5 * GIB + 12_345, 4 * GIB + 3
    folder = tmp_path / "tree/imagecache"
    folder.mkdir(parents=True)
    with (folder / "big").open("wb") as file:
        file.truncate(size)
        os.pwrite(file.fileno(), b"marked", place)
    path = tmp_path / "x.iso"
    command = 'xorriso -as mkisofs -quiet -iso-level 3 "$1" | dd of="$2" bs=1M conv=sparse'
    tool("sh", "-c", command, "sh", tmp_path / "tree", path)
    (big,) = open_iso9660(path, folder="imagecache").files
    assert (big.path, big.content.size) == ("big", size)
    (extent,) = big.content.extents
    assert extent.length == size
    with path.open("rb") as file:
        assert os.pread(file.fileno(), 6, extent.source.offset + place) == b"marked"


FEATURES = (
    *("", "^metadata_csum", "^64bit", "^has_journal", "^filetype", "^flex_bg", "sparse_super2"),
    *("bigalloc", "metadata_csum_seed", "large_dir", "^dir_index", "^metadata_csum,uninit_bg"),
    *("orphan_file", "quota", "^resize_inode,^sparse_super", "^extra_isize", "project,quota"),
)


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("block_size", ["1024", "2048", "4096"])
def test_ext4(folder: Path, tmp_path: Path, block_size: str, features: str) -> None:
    options = ("-O", features) if features else ()
    path = make_ext4(tmp_path / "x.img", folder, "-b", block_size, *options)
    assert read(open_ext4(path), "imagecache") == below(TREE, "imagecache")
    assert read(open_ext4(path)) == TREE


@pytest.mark.parametrize("inode_size", ["128", "512", "1024"])
def test_ext4_with_other_inodes(folder: Path, tmp_path: Path, inode_size: str) -> None:
    path = make_ext4(tmp_path / "x.img", folder, "-I", inode_size)
    assert read(open_ext4(path)) == TREE


@pytest.mark.parametrize("features", ["meta_bg", "meta_bg,^sparse_super", "meta_bg,sparse_super2"])
@pytest.mark.parametrize("block_size", ["1024", "4096"])
def test_ext4_whose_groups_are_told_all_over_it(
    folder: Path, tmp_path: Path, block_size: str, features: str
) -> None:
    """Inodes are spread over as many groups as there are folders."""
    path, size = tmp_path / "x.img", 20 * GIB if block_size == "4096" else GIB
    options = ("-b", block_size, "-O", f"^resize_inode,^flex_bg,{features}", "-N", "40000")
    make_ext4(path, folder, *options, size=size)
    assert read(open_ext4(path)) == TREE


def test_ext4_with_an_index_over_its_folder(tmp_path: Path) -> None:
    """mkfs.ext4 makes none itself; e2fsck makes them of folders that are large enough."""
    files = odd_tree(many=2000)
    folder = write_tree(tmp_path / "tree", files)
    path = make_ext4(tmp_path / "x.img", folder, "-b", "1024")
    tool("e2fsck", "-fyD", path)
    assert "Indirect levels: 1" in tool("debugfs", "-R", "htree /imagecache/many", path)
    assert read(open_ext4(path)) == files


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (12 * MIB, ("-F", "12", "-s", "8")),
        (20 * MIB, ("-F", "16", "-s", "4", "-r", "2048")),
        (64 * MIB, ("-F", "32", "-s", "1")),
        (640 * MIB, ("-F", "32", "-S", "4096", "-s", "1")),
        (64 * MIB, ("-F", "32", "-s", "1", "-f", "1", "-R", "40", "-h", "63")),
    ],
)
def test_fat(tmp_path: Path, size: int, options: tuple[str, ...]) -> None:
    files = odd_tree(many=60)
    folder, path = write_tree(tmp_path / "tree", files), tmp_path / "x.img"
    tool("truncate", "-s", str(size), path)
    tool("mkfs.fat", *options, path)
    tool("env", "LC_ALL=C.UTF-8", "mcopy", "-s", "-i", path, *folder.iterdir(), "::")
    assert read(open_fat(path)) == files


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", ["xorriso", "genisoimage"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=edit_count(100))
@given(data=st.data())
def test_damage_to_isos_is_told_or_harmless(
    small: Path, tmp_path: Path, kind: str, data: st.DataObject
) -> None:
    path, whole = tmp_path / "x.iso", tmp_path / "whole.iso"
    if not whole.exists():
        make_iso(kind, small, whole)
    image = whole.read_bytes()
    offsets = metadata_offsets(image, open_iso9660(whole).files)
    survives(edited(image, data.draw(edits(offsets)), path), open_iso9660)


@pytest.mark.parametrize("kind", ["xorriso", "genisoimage"])
def test_a_damaged_record_is_told(small: Path, tmp_path: Path, kind: str) -> None:
    image = make_iso(kind, small, tmp_path / "x.iso").read_bytes()
    name = b"sha256-" + b"%064x" % 1
    at = image.index(b"NM", image.index(name) - 16)
    path = edited(image, [(at + 2, b"\xff")], tmp_path / "x.iso")
    with pytest.raises(ImagerError, match="damaged"):
        open_iso9660(path)
