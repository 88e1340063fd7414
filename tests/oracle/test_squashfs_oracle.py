"""Files of squashfs images, judged by unsquashfs: as volumes, in images, damaged and hostile."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import struct
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from imager.app.diff import compare_images
from imager.app.verify import verify_image
from imager.content.extents import BlockRange, FileRange
from imager.content.reading import iterate_content
from imager.content.tree import Link
from imager.content.unpack import write_tree
from imager.formats.squashfs_read import open_squashfs
from imager.support.errors import ImagerError, InputError, UnsupportedError
from tests.lib.tools.cli import MIB, run, tool
from tests.lib.tools.examples import examples
from tests.lib.volumes.foreign_volumes import damage, edited, odd_tree, patch, small_tree
from tests.lib.volumes.foreign_volumes import write_tree as write

pytestmark = pytest.mark.oracle

QUIET = ("-noappend", "-quiet", "-no-progress")
PLAIN = ("-noI", "-noD", "-noF", "-noX")
KINDS: Mapping[str, tuple[str, ...]] = {
    "gzip": ("-b", "4K"),
    "xz": ("-comp", "xz", "-Xbcj", "x86", "-Xdict-size", "100%"),
    "zstd": ("-comp", "zstd", "-b", "1M"),
    "stored": PLAIN,
    "no-fragments": ("-comp", "zstd", "-no-fragments", "-noI"),
    "fragments": ("-b", "8K", "-always-use-fragments", "-no-duplicates", "-noF"),
    "for-nfs": ("-exports", "-nopad", "-no-sparse", "-Xcompression-level", "1"),
}


def mksquashfs(folder: Path, path: Path, *options: str) -> Path:
    tool("mksquashfs", folder, path, *options, *QUIET)
    return path


def unsquashfs(path: Path, target: Path) -> Path:
    tool("unsquashfs", "-q", "-n", "-d", target, path)
    return target


def renamed(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files without an image cache."""
    return {path.replace("imagecache/", "files/"): data for path, data in files.items()}


@pytest.fixture(scope="module", name="folder")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with every kind of entry, and inodes of both lengths."""
    folder = write(tmp_path_factory.mktemp("source"), renamed(odd_tree()))
    noise = random.Random("squashfs").randbytes(700_000)
    (folder / "noise").write_bytes(noise)
    (folder / "same").write_bytes(noise)
    os.link(folder / "noise", folder / "linked")
    (folder / "noise").chmod(0o4750)
    (folder / "empty-folder").mkdir()
    (folder / "link").symlink_to("files/empty")
    (folder / "long-link").symlink_to("x/" * 2000 + "y")
    os.mkfifo(folder / "pipe")
    with (folder / "sparse").open("wb") as file:
        file.truncate(50 * MIB)
        os.pwrite(file.fileno(), b"in the middle", 20 * MIB)
    return folder


def entries(folder: Path) -> dict[str, object]:
    """Return what is in a folder: sizes, permissions and targets; bytes are compared by diff."""
    found: dict[str, object] = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        found[str(path.relative_to(folder))] = (
            str(path.readlink())
            if path.is_symlink()
            else (status.st_size, stat.S_IMODE(status.st_mode) & 0o777)
            if path.is_file()
            else kind
        )
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_those_of_unsquashfs(kind: str, folder: Path, tmp_path: Path) -> None:
    path = mksquashfs(folder, tmp_path / "x", *KINDS[kind])
    tree = open_squashfs(path)
    write_tree(tree, tmp_path / "ours")
    wanted = entries(unsquashfs(path, tmp_path / "theirs"))
    assert wanted.pop("pipe") == stat.S_IFIFO
    assert entries(tmp_path / "ours") == wanted
    (tmp_path / "theirs/pipe").unlink()
    assert tool("diff", "-r", "--no-dereference", tmp_path / "ours", tmp_path / "theirs") == ""
    links = {node.path: node.target for node in tree.nodes if isinstance(node, Link)}
    assert tree.others == tuple(sorted([*links, "pipe"]))
    assert links["long-link"] == "x/" * 2000 + "y"
    modes = {file.path: file.mode for file in tree.files}
    assert modes["noise"] == modes["linked"] == 0o4750
    below = open_squashfs(path, folder="files/manifests")
    assert [file.path for file in below.files] == sorted(
        name.removeprefix("files/manifests/")
        for name in wanted
        if name.startswith("files/manifests/") and name in modes
    )
    assert open_squashfs(path, folder="none").files == ()


@pytest.fixture(scope="module", name="small")
def small_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write(tmp_path_factory.mktemp("small"), renamed(small_tree()))
    (folder / "link").symlink_to("other/file")
    (folder / "more").write_bytes(random.Random("more").randbytes(9000) + bytes(9000))
    return folder


@pytest.mark.parametrize("kind", ["stored", "gzip", "xz", "zstd"])
def test_damage_is_an_error_or_harmless(kind: str, small: Path, tmp_path: Path) -> None:
    """Seeded edits: 200 in a quick run. What is stored plainly is where they reach the deepest."""
    whole = mksquashfs(small, tmp_path / "whole", *KINDS[kind], "-b", "8K", "-nopad")
    image = whole.read_bytes()
    size = sum(file.content.size for file in open_squashfs(whole).files)
    choice = random.Random(kind)
    # Half of the edits are in the superblock, or in what follows the data.
    tables = [*range(96), *range(struct.unpack_from("<Q", image, 64)[0], len(image))]
    read = 0
    for number in range(examples(200)):
        changes = [
            (
                choice.choice(tables) if choice.random() < 0.7 else choice.randrange(len(image)),
                choice.choice((b"\0", b"\xff", b"\xff" * 4, b"\0" * 8, choice.randbytes(2))),
            )
            for _ in range(choice.randint(1, 3))
        ]
        begun = time.monotonic()
        damaged = edited(image, changes, tmp_path / "x")
        read += is_read(damaged, size)
        if number % 10 == 0:
            with suppress(ImagerError):
                verify_image(str(damaged))
            with suppress(ImagerError):
                compare_images(str(whole), str(damaged), structure=False)
        assert time.monotonic() - begun < 10
    assert read > 10


def is_read(path: Path, size: int) -> bool:
    """Return whether all files of a damaged image are read; sizes stay plausible."""
    try:
        files = open_squashfs(path).files
        for file in files:
            assert all(part not in ("", ".", "..") for part in file.path.split("/"))
            for extent in file.content.extents:
                assert not isinstance(extent.source, BlockRange) or extent.source.size <= MIB
            # Holes take no time, and a damaged size may be anything.
            done = 0
            for piece in iterate_content(file.content):
                done += len(piece) if isinstance(piece, bytes) else 0
                assert done <= 100 * size
    except ImagerError as error:
        assert error.message
        return False
    return True


def test_every_truncation_is_reported(small: Path, tmp_path: Path) -> None:
    image = mksquashfs(small, tmp_path / "whole", "-nopad").read_bytes()
    for end in [*range(0, len(image), 97), len(image) - 1]:
        (tmp_path / "x").write_bytes(image[:end])
        with pytest.raises(InputError, match="is damaged"):
            open_squashfs(tmp_path / "x")


def superblock(path: Path) -> tuple[int, ...]:
    """Return the places of the tables of inodes, folders and fragments."""
    return struct.unpack_from("<QQQ", path.read_bytes(), 64)


def test_hostile_tables_are_refused(small: Path, tmp_path: Path) -> None:
    whole = mksquashfs(small, tmp_path / "whole", *PLAIN, "-nopad")
    inodes, folders, _ = superblock(whole)
    root = struct.unpack_from("<Q", whole.read_bytes(), 32)[0]
    # A metadata block is stored, after two bytes.
    at_root = inodes + (root >> 16) + 2 + (root & 0xFFFF)
    listing = folders + 2 + struct.unpack_from("<H", whole.read_bytes(), at_root + 26)[0]

    def refused(offset: int, data: bytes, match: str) -> None:
        shutil.copy(whole, tmp_path / "x")
        patch(tmp_path / "x", offset, data)
        with pytest.raises((InputError, UnsupportedError), match=match):
            open_squashfs(tmp_path / "x")

    refused(20, struct.pack("<H", 5), "compressed with lz4 is not read")
    refused(20, struct.pack("<H", 77), "compressed with type 77 is not read")
    refused(12, struct.pack("<I", 1 << 30), "block size")
    refused(28, b"\3", "superblock is invalid")
    refused(40, struct.pack("<Q", 1 << 40), "ends before the end")
    refused(32, struct.pack("<Q", 0xFFFF), "end before byte")
    refused(at_root, b"\2", "root is not a folder")
    refused(at_root + 24, b"\xff\xff", "is damaged")
    refused(listing, struct.pack("<I", 300), "invalid record")
    # The first entry, `files`, is the root itself.
    to_root = struct.pack("<IIIH", 0, root >> 16, 1, root & 0xFFFF)
    refused(listing, to_root, "occurs in two places")
    refused(listing + 20, b"../es", "invalid")


def test_bombs_take_neither_time_nor_memory(tmp_path: Path) -> None:
    """A file of 1 GiB in an image of some hundred KiB, and one whose size is a lie."""
    folder = tmp_path / "folder"
    folder.mkdir()
    with (folder / "zeros").open("wb") as file:
        file.truncate(1 << 30)
    options = ("-comp", "zstd", "-b", "1M", "-no-sparse", "-no-fragments", "-noI")
    path = mksquashfs(folder, tmp_path / "x", *options)
    assert path.stat().st_size < MIB
    begun = time.process_time()
    assert run("ls", path).returncode == 0
    (file_,) = open_squashfs(path).files
    assert file_.content.size == 1 << 30
    # The inode of the only file is the first; the size follows three other fields.
    inodes, _, _ = superblock(path)
    patch(path, inodes + 2 + 16 + 12, b"\xff" * 4)
    with pytest.raises(InputError, match="is damaged"):
        open_squashfs(path)
    assert time.process_time() - begun < 3


INSIDE = "live/rootfs.sqsh"
# By the kind of source: where the squashfs image is in it.
HOMES = {
    "volume": "",
    "disk": "root/",
    "iso": f"{INSIDE}/",
    "initramfs": f"{INSIDE}/",
    "nested": f"{INSIDE}/",
}


def make_homes(folder: Path, place: Path) -> Mapping[str, Path]:
    """Make a squashfs image, and a disk, an ISO, an initramfs and another image that have it."""
    root = place / "root"
    (root / "live").mkdir(parents=True)
    image = mksquashfs(folder, root / INSIDE, *KINDS["xz"])
    disk = place / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(20 * MIB)
    tool("sfdisk", "-q", disk, stdin=b"label: gpt\nstart=1MiB, name=root\n")
    tool("dd", f"if={image}", f"of={disk}", "conv=notrunc", "bs=1M", "seek=1")
    tool("qemu-img", "convert", "-c", "-O", "qcow2", disk, place / "disk.qcow2")
    tool("xorriso", "-as", "mkisofs", "-quiet", "-r", "-o", place / "live.iso", root)
    mksquashfs(root, place / "outer.sqsh", *KINDS["zstd"])
    (root / "init").write_bytes(b"#!/bin/sh\n" * 1000)
    with (place / "initramfs").open("wb") as file:
        command = "find . | LC_ALL=C sort | cpio -o -H newc --quiet | zstd -q"
        subprocess.run(command, shell=True, cwd=root, stdout=file, check=True)
    return {
        "volume": image,
        "disk": place / "disk.qcow2",
        "iso": place / "live.iso",
        "initramfs": place / "initramfs",
        "nested": place / "outer.sqsh",
    }


@pytest.fixture(scope="module", name="homes")
def images_with_it(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    return make_homes(folder, tmp_path_factory.mktemp("homes"))


@pytest.fixture(scope="module")
def unpacked(homes: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unsquashfs(homes["volume"], tmp_path_factory.mktemp("unpacked") / "x")


@pytest.mark.parametrize("home", HOMES)
def test_paths_lead_into_it(
    home: str, homes: Mapping[str, Path], unpacked: Path, tmp_path: Path
) -> None:
    source, path = homes[home], HOMES[home]
    done = run("ls", source, f"{path}files", "-R", "--json")
    assert done.returncode == 0, done.stderr
    assert {each["path"] for each in json.loads(done.stdout)["entries"]} == set(
        entries(unpacked / "files")
    )
    done = run("extract", source, f"{path}files", tmp_path / "found")
    assert (done.returncode, done.stderr) == (0, "")
    assert tool("diff", "-r", unpacked / "files", tmp_path / "found") == ""
    done = run("extract", source, f"{path}noise", tmp_path / "noise")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "noise").read_bytes() == (unpacked / "noise").read_bytes()
    found = json.loads(run("verify", source, "--json").stdout)
    assert (found["problems"], found["unknown"]) == ([], [])
    assert found["streams"] == 1


def first_block(image: Path, path: str) -> int:
    """Return where the first compressed block of a file is in an image."""
    (file,) = (each for each in open_squashfs(image).files if each.path == path)
    block = next(each.source for each in file.content.extents)
    assert isinstance(block, BlockRange)
    place = block.packed.extents[0].source
    assert isinstance(place, FileRange)
    return place.offset


def test_damage_and_differences_are_named_by_file(
    folder: Path, homes: Mapping[str, Path], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other, symlinks=True, ignore=shutil.ignore_patterns("pipe"))
    (other / "files/empty").write_text("not empty")
    (other / "new").touch()
    for name in ("old", "new", "damaged"):
        (tmp_path / name).mkdir()
    changed = make_homes(other, tmp_path / "new")
    for home in ("volume", "iso", "initramfs"):
        done = run("diff", homes[home], changed[home], "--json")
        assert done.returncode == 1
        changes = json.loads(done.stdout)["changes"]
        names = {each["name"].rpartition(" ")[2] for each in changes if each["what"] == "file"}
        assert names - {INSIDE} == {"files/empty", "new", "pipe"}

    image = tmp_path / "damaged/x"
    shutil.copy(homes["volume"], image)
    damage(image, first_block(image, "files/pieces") + 100)
    assert subprocess.run(
        ["unsquashfs", "-q", "-n", "-strict-errors", "-d", tmp_path / "y", image],
        capture_output=True, check=False,
    ).returncode  # fmt: skip
    root = tmp_path / "damaged/root"
    (root / "live").mkdir(parents=True)
    image.rename(root / INSIDE)
    iso = tmp_path / "damaged.iso"
    tool("xorriso", "-as", "mkisofs", "-quiet", "-r", "-o", iso, root)
    initramfs = tmp_path / "initramfs"
    with initramfs.open("wb") as file:
        command = "find . | cpio -o -H newc --quiet | gzip -1"
        subprocess.run(command, shell=True, cwd=root, stdout=file, check=True)
    for source in (root / INSIDE, iso, initramfs):
        done = run("verify", source, "--json")
        assert done.returncode == 2, done.stderr
        (problem,) = json.loads(done.stdout)["problems"]
        assert problem["place"].endswith("files/pieces")
        assert "a compressed block is damaged" in problem["problem"]
