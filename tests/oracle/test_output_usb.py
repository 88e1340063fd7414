"""Whole USB sticks judged by sfdisk, sgdisk, fsck.fat, mtools, blkid and zstd."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.lib.caches.caches import CacheFixture, flip, make_layout, tree_files
from tests.lib.caches.sparse import GIB, make_sparse_flat
from tests.lib.tools.cli import (
    MIB,
    build,
    cut,
    gpt_is_sound,
    partitions,
    real_assets,
    run,
    tool,
)

pytestmark = pytest.mark.oracle

USB = ("iso", "--output-kind", "usb")
NAME = "metal-amd64-usb.img"
BASIC_DATA = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"


@pytest.fixture(scope="module")
def outputs(cache: CacheFixture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the stick and the ISO, both with the real boot assets."""
    folder = tmp_path_factory.mktemp("out")
    layout = make_layout(cache, folder / "layout")
    common = ("--assets", real_assets(), "--image-cache", layout, "--output", folder)
    build(*USB, *common)
    build("iso", *common)
    return folder


@pytest.fixture
def stick(outputs: Path) -> Path:
    return outputs / NAME


def volume(stick: Path, folder: Path) -> Path:
    (entry,) = partitions(stick)[1]
    return cut(stick, entry.start, entry.size, folder / "volume.img")


def files(stick: Path, folder: Path) -> dict[str, bytes]:
    """Return all files of the stick, extracted by mtools."""
    target = folder / "files"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    tool("mcopy", "-s", "-i", volume(stick, folder), "::*", target)
    return tree_files(target)


def cached(stick: Path, folder: Path) -> dict[str, bytes]:
    prefix = "imagecache/"
    return {
        path.removeprefix(prefix): data
        for path, data in files(stick, folder).items()
        if path.startswith(prefix)
    }


def test_one_partition_that_windows_mounts(stick: Path) -> None:
    table = json.loads(tool("sfdisk", "-J", stick))["partitiontable"]
    (entry,) = partitions(stick)[1]
    assert table["label"] == "gpt"
    assert (entry.start, entry.type_guid, entry.label) == (MIB, BASIC_DATA, "TALOS_1")
    assert entry.size % MIB == 0
    assert stick.stat().st_size == entry.start + entry.size + MIB


def test_gpt_is_sound_and_damage_is_seen(stick: Path, tmp_path: Path) -> None:
    assert gpt_is_sound(stick)
    for offset in (512 + 56, 1024 + 40, stick.stat().st_size - 512 + 56):
        copy = tmp_path / "damaged.img"
        shutil.copy(stick, copy)
        flip(copy, offset)
        assert not gpt_is_sound(copy)


def test_volume_is_sound_and_damage_is_seen(stick: Path, tmp_path: Path) -> None:
    fat = volume(stick, tmp_path)
    tool("fsck.fat", "-n", fat)
    flip(fat, int.from_bytes(fat.read_bytes()[14:16], "little") * 512 + 13)
    assert "FATs differ" in tool("fsck.fat", "-n", fat, status=1)


def test_label_is_in_the_boot_sector_and_in_the_root(stick: Path, tmp_path: Path) -> None:
    fat = volume(stick, tmp_path)
    assert fat.read_bytes()[71:82] == b"TALOS_1    "
    assert "Volume in drive : is TALOS_1" in tool("mdir", "-i", fat, "::/")
    said = tool("blkid", "-p", "-o", "export", fat).splitlines()
    assert {"TYPE=vfat", "LABEL=TALOS_1", "VERSION=FAT32"} <= set(said)


def test_the_files_are_those_of_the_iso(stick: Path, cache: CacheFixture, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    iso = stick.with_name("metal-amd64.iso")
    tool("xorriso", "-osirrox", "on", "-indev", iso, "-extract", "/", tree)
    of_iso = tree_files(tree)
    for name in ("efi.img", "boot.cat", "boot/grub/bios.img"):
        del of_iso[name]
    assert files(stick, tmp_path) == of_iso
    assert cached(stick, tmp_path) == cache.files


def test_a_damaged_blob_is_seen(stick: Path, cache: CacheFixture, tmp_path: Path) -> None:
    copy = tmp_path / "damaged.img"
    shutil.copy(stick, copy)
    flip(copy, copy.read_bytes().index(cache.blobs[1].read_bytes()) + 50_000)
    assert cached(copy, tmp_path) != cache.files


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_compressed_layers_and_compressed_sticks(
    assets: Path, cache: CacheFixture, tmp_path: Path, codec: str
) -> None:
    layout = make_layout(cache, tmp_path / "layout", codec=codec)
    common = ("--assets", assets, "--image-cache", layout, "--output", tmp_path)
    build(*USB, *common)
    build(*USB, *common, "--out-format", ".zst")
    assert cached(tmp_path / NAME, tmp_path) == cache.files
    tool("zstd", "-q", "-d", tmp_path / f"{NAME}.zst", "-o", tmp_path / "again.img")
    assert (tmp_path / "again.img").read_bytes() == (tmp_path / NAME).read_bytes()


def test_a_size_of_the_users(assets: Path, cache: CacheFixture, tmp_path: Path) -> None:
    common = ("--assets", assets, "--image-cache", cache.folder, "--output", tmp_path)
    least = build(*USB, *common, "--dry-run")["minimumDiskSize"]
    done = run(*USB, *common, "--image-disk-size", str(least - MIB))
    assert done.returncode == 2
    assert f"--image-disk-size={least // MIB}MiB" in done.stderr
    assert not (tmp_path / NAME).exists()
    done = run(*USB, *common, "--image-disk-size", str(least + 1))
    assert (done.returncode, "multiple of the sector size" in done.stderr) == (2, True)
    for size in (least, 3 * GIB + 512):
        build(*USB, *common, "--image-disk-size", str(size))
        assert (tmp_path / NAME).stat().st_size == size
        assert gpt_is_sound(tmp_path / NAME)
        tool("fsck.fat", "-n", volume(tmp_path / NAME, tmp_path))


def test_without_a_cache_it_boots_all_the_same(assets: Path, tmp_path: Path) -> None:
    build(*USB, "--assets", assets, "--output", tmp_path)
    listed = tool("mdir", "-/", "-b", "-i", volume(tmp_path / NAME, tmp_path), "::/")
    assert "::/EFI/BOOT/BOOTX64.EFI" in listed
    assert "imagecache" not in listed


def test_a_blob_that_fat_cannot_hold(assets: Path, tmp_path: Path) -> None:
    cache = make_sparse_flat(tmp_path / "flat", size=4 * GIB)
    common = ("--assets", assets, "--image-cache", cache, "--output", tmp_path)
    done = run(*USB, *common)
    digest = "sha256:" + "a" * 64
    assert done.returncode == 2
    assert f"blob {digest} of registry.local/huge:v1 has 4 GiB" in done.stderr
    assert re.search(r"hint: .*\bdd\b.*raw disk", done.stderr)
    assert not (tmp_path / NAME).exists()
    _, note = build("iso", *common, "--dry-run")["notes"]
    assert note.startswith("the ISO cannot be copied to a FAT stick: ")
    assert digest in note


def test_the_largest_blobs_that_fat_can_hold(assets: Path, tmp_path: Path) -> None:
    """fsck.fat counts the bytes of a file's clusters in 32 bits, so it judges one cluster less."""
    largest, judged = 4 * GIB - 1, 4 * GIB - 4096
    common = ("--assets", assets, "--output", tmp_path, "--image-cache")
    cache = make_sparse_flat(tmp_path / "largest", size=largest)
    assert build(*USB, *common, cache, "--dry-run")["size"] > largest
    assert len(build("iso", *common, cache, "--dry-run")["notes"]) == 1
    cache = make_sparse_flat(tmp_path / "judged", size=judged)
    build(*USB, *common, cache, "--no-verify")
    fat = volume(tmp_path / NAME, tmp_path)
    tool("fsck.fat", "-n", fat)
    assert str(judged) in tool("mdir", "-i", fat, "::/imagecache/blob").replace(" ", "")


def tagged(cache: CacheFixture, folder: Path, *tags: str) -> Path:
    """Return a copy of the cache in which the first image has `tags` too."""
    copy = Path(shutil.copytree(cache.folder, folder / "tagged"))
    place = next(copy.glob("manifests/**/reference"))
    for tag in tags:
        shutil.copy(place / "v1", place / tag)
    return copy


def test_tags_that_windows_shortens_are_whole_on_the_stick(
    assets: Path, cache: CacheFixture, tmp_path: Path
) -> None:
    tag = "t" * 128
    copy = tagged(cache, tmp_path, tag)
    common = ("--assets", assets, "--image-cache", copy, "--output", tmp_path)
    _, note = build("iso", *common, "--dry-run")["notes"]
    assert note.startswith("Windows shows 1 name of the ISO in short form, such as imagecache/")
    assert tag in note
    build(*USB, *common)
    assert any(path.endswith(f"/reference/{tag}") for path in files(tmp_path / NAME, tmp_path))


def test_tags_that_differ_in_case_alone(assets: Path, cache: CacheFixture, tmp_path: Path) -> None:
    copy = tagged(cache, tmp_path, "V1")
    common = ("--assets", assets, "--image-cache", copy, "--output", tmp_path)
    done = run(*USB, *common)
    assert done.returncode == 2
    assert "/reference/V1' and '" in done.stderr
    assert "hint: write the ISO itself to the stick with dd" in done.stderr
    _, note = build("iso", *common, "--dry-run")["notes"]
    assert note.startswith("the ISO cannot be copied to a FAT stick: ")
