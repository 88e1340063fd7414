"""Whole disk images judged by sgdisk, sfdisk, fsck.fat, mtools, e2fsck, debugfs and zstd."""

from __future__ import annotations

import hashlib
import re
from itertools import pairwise
from pathlib import Path

import pytest

from tests.lib.caches.caches import CacheFixture, flip, make_flat, make_layout, tree_files
from tests.lib.caches.sparse import BLOB, GIB, make_sparse_flat, mark
from tests.lib.tools.cli import (
    MIB,
    GptEntry,
    build,
    cut,
    fingerprint,
    gpt_is_sound,
    partitions,
    real_assets,
    run,
    tool,
)

pytestmark = pytest.mark.oracle

TALOS_MINIMUM = 1246 * MIB
COPY = 256 << 10


@pytest.fixture(scope="module")
def disk(cache: CacheFixture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a disk with the real boot assets, and a cache from a plain OCI layout."""
    folder = tmp_path_factory.mktemp("disk")
    layout = make_layout(cache, folder / "layout")
    common = ("--assets", real_assets(), "--image-cache", layout, "--output", folder)
    build("metal", *common, "--out-format", "raw")
    return folder / "metal-amd64.raw"


@pytest.fixture(scope="module")
def large_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a flat cache that does not fit a disk of Talos's smallest size."""
    return make_sparse_flat(tmp_path_factory.mktemp("large") / "flat", size=500 * MIB)


def entry_of(disk: Path, label: str) -> GptEntry:
    return next(entry for entry in partitions(disk)[1] if entry.label == label)


def partition(disk: Path, label: str, folder: Path) -> Path:
    entry = entry_of(disk, label)
    return cut(disk, entry.start, entry.size, folder / f"{label}.img")


def debugfs(volume: Path, request: str) -> str:
    return tool("debugfs", "-R", request, volume)


def test_gpt_is_sound(disk: Path) -> None:
    assert gpt_is_sound(disk)


@pytest.mark.parametrize("offset", [512 + 56, 1024 + 40])
def test_sgdisk_sees_damage(disk: Path, tmp_path: Path, offset: int) -> None:
    copy = cut(disk, 0, disk.stat().st_size, tmp_path / "copy.raw")
    with copy.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0xFF]))
    assert not gpt_is_sound(copy)


def test_partitions_are_aligned_and_leave_no_gap(disk: Path) -> None:
    entries = partitions(disk)[1]
    assert [entry.label for entry in entries] == ["EFI", "BIOS", "BOOT", "META", "IMAGECACHE"]
    assert entries[0].start == MIB
    for before, after in pairwise(entries):
        assert before.start + before.size == after.start
    end = entries[-1].start + entries[-1].size
    assert 0 < disk.stat().st_size - end <= MIB


def test_guids_follow_the_rule(disk: Path) -> None:
    def by_rule(label: str) -> str:
        text = bytearray(hashlib.sha256(bytes(16) + label.encode()).hexdigest(), "ascii")
        text[12:13] = b"8"
        text[16:17] = b"%x" % (int(text[16:17], 16) & 3 | 8)
        return "-".join(
            text[a:b].decode() for a, b in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
        )

    disk_guid, entries = partitions(disk)
    assert disk_guid == by_rule("talos-image-disk")
    assert {entry.label: entry.guid for entry in entries} == {
        label: by_rule(label) for label in ("EFI", "BIOS", "BOOT", "META", "IMAGECACHE")
    }


def test_esp_is_fat32_and_sound(disk: Path, tmp_path: Path) -> None:
    esp = partition(disk, "EFI", tmp_path)
    tool("fsck.fat", "-n", esp)
    assert 'disk type="FAT32' in tool("minfo", "-i", esp, "::")
    tool("mcopy", "-i", esp, "::/EFI/boot/BOOTX64.efi", tmp_path / "loader")
    loader = real_assets() / "amd64/grub/x86_64-efi/monolithic/gcdx64.efi"
    assert (tmp_path / "loader").read_bytes() == loader.read_bytes()
    assert int.from_bytes(esp.read_bytes()[28:32], "little") * 512 == MIB


def test_fsck_fat_sees_damage(disk: Path, tmp_path: Path) -> None:
    esp = partition(disk, "EFI", tmp_path)
    with esp.open("r+b") as file:
        reserved = int.from_bytes(file.read(16)[14:16], "little")
        file.seek(reserved * 512 + 13)
        file.write(b"\x5a")
    assert "FATs differ" in tool("fsck.fat", "-n", esp, status=1)


def test_ext4_is_sound_and_labelled(disk: Path, tmp_path: Path) -> None:
    volume = partition(disk, "IMAGECACHE", tmp_path)
    tool("e2fsck", "-fn", volume)
    said = tool("dumpe2fs", "-h", volume)
    assert re.search(r"^Filesystem volume name: +IMAGECACHE$", said, re.MULTILINE)
    guid = entry_of(disk, "IMAGECACHE").guid
    assert re.search(rf"^Filesystem UUID: +{guid}$", said, re.MULTILINE)
    assert re.search(rf"^Directory Hash Seed: +{guid}$", said, re.MULTILINE)


def test_e2fsck_sees_damage(disk: Path, tmp_path: Path) -> None:
    volume = partition(disk, "IMAGECACHE", tmp_path)
    with volume.open("r+b") as file:
        file.seek(4096 + 8)
        file.write(b"\x5a")
    assert tool("e2fsck", "-fn", volume, status=None) != ""
    with pytest.raises(AssertionError):
        tool("e2fsck", "-fn", volume)


def test_cache_comes_back_byte_for_byte(disk: Path, cache: CacheFixture, tmp_path: Path) -> None:
    volume = partition(disk, "IMAGECACHE", tmp_path)
    target = tmp_path / "dump"
    target.mkdir()
    debugfs(volume, f"rdump / {target}")
    assert tree_files(target) == cache.files


def test_dump_sees_a_damaged_blob(disk: Path, cache: CacheFixture, tmp_path: Path) -> None:
    volume = partition(disk, "IMAGECACHE", tmp_path)
    path = cache.blobs[1].relative_to(cache.folder)
    block = int(debugfs(volume, f"blocks /{path}").split("\n", 1)[1].split()[0])
    flip(volume, block * 4096 + 17)
    debugfs(volume, f"dump /{path} {tmp_path / 'blob'}")
    assert (tmp_path / "blob").read_bytes() != cache.blobs[1].read_bytes()


def test_everything_is_roots(disk: Path, cache: CacheFixture, tmp_path: Path) -> None:
    volume = partition(disk, "IMAGECACHE", tmp_path)
    folders = {parent.as_posix() for path in cache.files for parent in Path(path).parents}
    for path in [*cache.files, *folders]:
        said = debugfs(volume, f"stat /{path}")
        assert re.search(r"User: +0 +Group: +0 ", said)
        mode = re.search(r"Type: (\w+) +Mode: +(\d+)", said)
        assert mode
        assert mode.groups() == (("directory", "0755") if path in folders else ("regular", "0644"))


def test_meta_has_two_copies(assets: Path, tmp_path: Path) -> None:
    common = ("--assets", assets, "--output", tmp_path, "--out-format", "raw")
    build("metal", *common, "--meta", "0xc=second", "--meta", "0xa=first value")
    raw = partition(tmp_path / "metal-amd64.raw", "META", tmp_path).read_bytes()
    values = (
        *(b"\x00\x00\x00\x0a", b"\x00\x00\x00\x0b", b"first value"),
        *(b"\x00\x00\x00\x0c", b"\x00\x00\x00\x06", b"second"),
    )
    start = b"\x5a\x4b\x3c\x2d" + b"".join(values)
    unsigned = start.ljust(COPY - 4, b"\0") + b"\xa5\xb4\xc3\xd2"
    copy = unsigned[:-36] + hashlib.sha256(unsigned).digest() + b"\xa5\xb4\xc3\xd2"
    assert raw == (copy * 2).ljust(MIB, b"\0")


def test_zst_is_the_raw_disk_compressed(assets: Path, cache: CacheFixture, tmp_path: Path) -> None:
    common = ("--assets", assets, "--image-cache", cache.folder, "--output", tmp_path)
    build("metal", *common, "--out-format", "raw")
    told = build("metal", *common, "--out-format", ".zst", "--checksum")["sha256"]
    raw, packed = tmp_path / "metal-amd64.raw", tmp_path / "metal-amd64.raw.zst"
    assert tool("sha256sum", packed).split()[0] == told
    unpacked = tmp_path / "unpacked.raw"
    tool("zstd", "-dq", "--sparse", packed, "-o", unpacked)
    assert fingerprint(unpacked) == fingerprint(raw)
    assert packed.stat().st_size < 4 * MIB
    flip(packed)
    tool("zstd", "-tq", packed, status=1)


def test_checksum_is_what_sha256sum_says(assets: Path, cache: CacheFixture, tmp_path: Path) -> None:
    common = ("--assets", assets, "--image-cache", cache.folder, "--output", tmp_path)
    told = build("metal", *common, "--out-format", "raw", "--checksum")["sha256"]
    disk = tmp_path / "metal-amd64.raw"
    assert tool("sha256sum", disk).split()[0] == told
    assert disk.stat().st_blocks * 512 < 16 * MIB


def test_default_size_is_talos_minimum_for_a_small_cache(disk: Path) -> None:
    assert disk.stat().st_size == TALOS_MINIMUM


def test_large_cache_decides_the_size(assets: Path, large_cache: Path, tmp_path: Path) -> None:
    """The smallest size works, the one named in the message is that one, and less does not."""
    common = ("--assets", assets, "--image-cache", large_cache, "--output", tmp_path, "--no-verify")
    build("metal", *common, "--out-format", "raw")
    disk = tmp_path / "metal-amd64.raw"
    smallest = disk.stat().st_size // MIB
    assert disk.stat().st_size % MIB == 0
    assert smallest * MIB > TALOS_MINIMUM
    volume = partition(disk, "IMAGECACHE", tmp_path)
    tool("e2fsck", "-fn", volume)
    default = fingerprint(disk)
    disk.unlink()

    refused = run("metal", *common, "--out-format", "raw", f"--image-disk-size={smallest - 1}MiB")
    assert refused.returncode == 2
    assert f"--image-disk-size={smallest}MiB" in refused.stderr
    for part in (
        "EFI 100 MiB",
        "BIOS 1 MiB",
        "BOOT 1000 MiB",
        "META 1 MiB",
        "image cache 500.0 MiB",
    ):
        assert part in refused.stderr
    assert not disk.exists()

    build("metal", *common, "--out-format", "raw", f"--image-disk-size={smallest}MiB")
    assert fingerprint(disk) == default


def test_a_cache_from_1_13_on_has_room_for_a_newer_one(
    assets: Path, large_cache: Path, tmp_path: Path
) -> None:
    """A fifth of its files' sizes, in whole MiB, on a disk that is larger by just that."""
    common = ("--assets", assets, "--image-cache", large_cache, "--output", tmp_path, "--no-verify")
    new = (*common, "--talos-version", "v1.13.0", "--out-format", "raw")
    files = build("metal", *new, "--dry-run")["imageCache"]["size"]
    room = -(-files * 6 // 5 // MIB) * MIB
    assert room > files * 6 // 5 >= 600 * MIB
    build("metal", *new)
    disk = tmp_path / "metal-amd64.raw"
    assert entry_of(disk, "IMAGECACHE").size == room
    assert disk.stat().st_size == 4247 * MIB + room
    assert gpt_is_sound(disk)
    tool("e2fsck", "-fn", partition(disk, "IMAGECACHE", tmp_path))

    plan = build("metal", *common, "--talos-version", "v1.12.9", "--dry-run")
    assert plan["size"] == plan["minimumDiskSize"] < 4247 * MIB + files


def test_a_size_of_the_users_is_the_total_from_1_13_on_too(
    assets: Path, large_cache: Path, tmp_path: Path
) -> None:
    common = ("--assets", assets, "--image-cache", large_cache, "--output", tmp_path, "--no-verify")
    new = (*common, "--talos-version", "v1.13.0", "--dry-run")
    smallest = build("metal", *new)["minimumDiskSize"]
    assert smallest < 4247 * MIB + 600 * MIB
    for size in (smallest, 8 * GIB):
        plan = build("metal", *new, f"--image-disk-size={size}")
        assert plan["size"] == size
        (cache,) = (region for region in plan["regions"] if region["name"] == "IMAGECACHE")
        assert 0 < size - cache["offset"] - cache["length"] <= MIB
    refused = run("metal", *new, f"--image-disk-size={smallest - MIB}")
    assert refused.returncode == 2
    assert f"--image-disk-size={smallest // MIB}MiB" in refused.stderr


@pytest.mark.parametrize(
    ("command", "version", "size"), [("metal", "v1.13.0", 4247), ("metal-4k", "v1.12.1", 2246)]
)
def test_the_size_that_talos_prints_for_none_is_no_choice(
    assets: Path, tmp_path: Path, command: str, version: str, size: int
) -> None:
    """Talos adds the boot partitions of newer releases to it, so its own profiles must build."""
    common = ("--assets", assets, "--output", tmp_path, "--talos-version", version, "--dry-run")
    plan = build(command, *common, "--image-disk-size=1306525696")
    assert plan["size"] == build(command, *common)["size"] == size * MIB
    assert any("is what Talos prints" in note for note in plan["notes"])


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GiB", 4 << 30), ("4GB", 4_000_000_000), ("1306525696", 1_306_525_696)],
)
def test_size_is_exact(
    assets: Path, cache: CacheFixture, tmp_path: Path, text: str, size: int
) -> None:
    common = ("--assets", assets, "--image-cache", cache.folder, "--output", tmp_path)
    build("metal", *common, "--out-format", "raw", f"--image-disk-size={text}")
    disk = tmp_path / "metal-amd64.raw"
    assert disk.stat().st_size == size
    assert gpt_is_sound(disk)
    entry = entry_of(disk, "IMAGECACHE")
    assert 0 < size - (entry.start + entry.size) <= 2 * MIB
    tool("e2fsck", "-fn", partition(disk, "IMAGECACHE", tmp_path))


def test_file_above_4_gib(assets: Path, tmp_path: Path) -> None:
    size, marks = 5 * GIB + 12_345, (0, 4 * GIB - 3, 5 * GIB + 12_336)
    cache = make_sparse_flat(tmp_path / "flat", size=size, marks=marks)
    common = ("--assets", assets, "--image-cache", cache, "--output", tmp_path)
    build("metal", *common, "--no-verify", "--out-format", "raw")
    disk = tmp_path / "metal-amd64.raw"
    volume = partition(disk, "IMAGECACHE", tmp_path)
    tool("e2fsck", "-fn", volume)
    said = debugfs(volume, f"stat /{BLOB}")
    assert re.search(rf"Size: {size}\b", said)
    with volume.open("rb") as file:
        for offset in marks:
            place = debugfs(volume, f"bmap /{BLOB} {offset // 4096}").splitlines()[-1]
            file.seek(int(place) * 4096 + offset % 4096)
            data = file.read(min(9, 4096 - offset % 4096))
            assert mark(offset).startswith(data)


def test_many_files_fit_the_directory(assets: Path, tmp_path: Path) -> None:
    cache = make_flat(tmp_path / "flat", images=150, layers=2, blob_size=100)
    common = ("--assets", assets, "--image-cache", cache.folder, "--output", tmp_path)
    build("metal", *common, "--out-format", "raw")
    volume = partition(tmp_path / "metal-amd64.raw", "IMAGECACHE", tmp_path)
    tool("e2fsck", "-fn", volume)
    target = tmp_path / "dump"
    target.mkdir()
    debugfs(volume, f"rdump / {target}")
    assert tree_files(target) == cache.files
