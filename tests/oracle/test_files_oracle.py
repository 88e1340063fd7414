"""`imager ls` and `imager extract` against the tools that read the same images."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.lib.caches.caches import CacheFixture, make_layout
from tests.lib.tools.cli import build, cut, real_assets, run, tool
from tests.lib.volumes.cache_disks import disk_with_cache

pytestmark = pytest.mark.oracle


def extracted(source: Path, path: str, target: Path) -> dict[str, bytes]:
    done = run("extract", source, path, target)
    assert (done.returncode, done.stderr) == (0, "")
    return files_below(target)


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def disk(cache: CacheFixture, folder: Path) -> Path:
    """Return a disk with FAT, XFS and ext4."""
    return disk_with_cache(folder, cache)


@pytest.fixture(scope="module")
def parts(disk: Path, folder: Path) -> Mapping[str, Path]:
    """Return the partitions, cut out by the numbers of sfdisk."""
    table = json.loads(tool("sfdisk", "--json", disk))["partitiontable"]["partitions"]
    return {
        each["name"]: cut(disk, each["start"] * 512, each["size"] * 512, folder / each["name"])
        for each in table
    }


def test_files_of_a_disk_are_those_of_mtools_and_debugfs(
    disk: Path, parts: Mapping[str, Path], tmp_path: Path, cache: CacheFixture
) -> None:
    by_mtools = tmp_path / "mtools"
    by_mtools.mkdir()
    tool("mcopy", "-s", "-i", parts["EFI"], "::*", by_mtools)
    found = extracted(disk, "EFI", tmp_path / "esp")
    assert found == files_below(by_mtools) != {}

    by_debugfs = tmp_path / "debugfs"
    by_debugfs.mkdir()
    tool("debugfs", "-R", f"rdump / {by_debugfs}", parts["IMAGECACHE"])
    assert extracted(disk, "IMAGECACHE", tmp_path / "cache") == files_below(by_debugfs)
    assert files_below(by_debugfs) == dict(cache.files)

    whole = extracted(disk, "/", tmp_path / "whole")
    assert {path[4:]: data for path, data in whole.items() if path[:4] == "EFI/"} == found
    # A partition without a file system is a file, and `:` makes any a file.
    assert whole["META"] == parts["META"].read_bytes()
    numbered = json.loads(run("ls", disk, "--json").stdout)["entries"]
    number = [each["path"] for each in numbered].index("BOOT") + 1
    raw = tmp_path / "boot.img"
    assert run("extract", disk, f":{number}", raw).returncode == 0
    assert subprocess.run(["cmp", raw, parts["BOOT"]], check=False).returncode == 0


def test_paths_go_on_inside_of_files(disk: Path, folder: Path, tmp_path: Path) -> None:
    """Through qcow2 in .zst, a partition, XFS, xz and cpio; and into a UKI's sections."""
    tool("qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, folder / "disk.qcow2")
    tool("zstd", "-q", "-1", folder / "disk.qcow2")
    by_cpio = tmp_path / "cpio"
    by_cpio.mkdir()
    packed = real_assets() / "amd64/initramfs.xz"
    subprocess.run(f"zstd -dc {packed} | cpio -idm --quiet", shell=True, cwd=by_cpio, check=True)
    found = tmp_path / "initramfs"
    done = run("extract", folder / "disk.qcow2.zst", "BOOT/A/initramfs.xz/", found, "--json")
    assert done.returncode == 0, done.stderr
    assert files_below(found) == files_below(by_cpio) != {}
    links = {path for path in found.rglob("*") if path.is_symlink()}
    assert {path.relative_to(found) for path in links} == {
        path.relative_to(by_cpio) for path in by_cpio.rglob("*") if path.is_symlink()
    }
    assert all(path.resolve().is_relative_to(found) for path in links)

    build("metal-uki", "--assets", real_assets(), "--output", folder)
    uki = folder / "metal-amd64-uki.efi"
    tool("objcopy", "-O", "binary", "-j", ".cmdline", uki, tmp_path / "cmdline")
    assert run("extract", uki, ".cmdline", "-").stdout.encode().rstrip(b"\0") == (
        tmp_path / "cmdline"
    ).read_bytes().rstrip(b"\0")
    init = run("extract", uki, ".initrd/init", "-")
    assert init.stdout == (by_cpio / "init").read_text()
    listed = json.loads(run("ls", uki, ".initrd/bin", "--json").stdout)["entries"]
    assert {(each["path"], each["size"], each["target"]) for each in listed} == {
        ("busybox", (by_cpio / "bin/busybox").stat().st_size, ""),
        ("sh", None, "busybox"),
    }


def test_files_of_an_iso_are_those_of_osirrox_and_7z(
    cache: CacheFixture, folder: Path, tmp_path: Path
) -> None:
    layout = make_layout(cache, folder / "iso-layout")
    build("iso", "--assets", real_assets(), "--image-cache", layout, "--output", folder)
    iso = folder / "metal-amd64.iso"
    by_xorriso = tmp_path / "xorriso"
    tool("osirrox", "-indev", iso, "-extract", "/", by_xorriso)
    found = extracted(iso, "/", tmp_path / "found")
    own = {path: data for path, data in found.items() if not path.startswith(":")}
    assert own == files_below(by_xorriso) != {}
    tool("7z", "x", f"-o{tmp_path / 'esp'}", by_xorriso / "efi.img")
    esp = {path[3:]: data for path, data in found.items() if path.startswith(":1/")}
    assert esp == {
        path: data
        for path, data in files_below(tmp_path / "esp").items()
        if not path.startswith("[")
    }


def test_files_of_images_are_those_of_tar(tmp_path: Path) -> None:
    """A foreign maker's initramfs: several archives, of which the last of each path counts."""
    for number, text in ((1, "old"), (2, "new")):
        place = tmp_path / str(number)
        place.mkdir()
        (place / "same").write_text(text)
        (place / f"only{number}").write_text(text)
        tool("sh", "-c", f"cd {place} && find . | cpio -o -H newc --quiet > ../{number}.cpio")
    tool("gzip", tmp_path / "1.cpio")
    both = tmp_path / "initrd.img"
    both.write_bytes((tmp_path / "1.cpio.gz").read_bytes() + (tmp_path / "2.cpio").read_bytes())
    assert extracted(both, "/", tmp_path / "found") == {
        "same": b"new",
        "only1": b"old",
        "only2": b"new",
    }
    tool("tar", "-cJf", tmp_path / "t.tar.xz", "-C", tmp_path, "1", "2")
    assert extracted(tmp_path / "t.tar.xz", "2", tmp_path / "tar") == files_below(tmp_path / "2")


@pytest.mark.parametrize("kind", ["ext4", "xfs", "iso9660"])
def test_links_of_file_systems_of_others(kind: str, tmp_path: Path) -> None:
    """Short targets are in an inode, long ones in a block, or in several entries of Rock Ridge."""
    targets = {
        "plain": "folder/file",
        "long": "folder/" + "./" * 200 + "file",
        "up/above": "../folder/file",
        "absolute": "/folder/file",
        "out": "../../etc/passwd",
    }
    source = tmp_path / "source"
    (source / "folder").mkdir(parents=True)
    (source / "up").mkdir()
    (source / "folder/file").write_text("text")
    for name, target in targets.items():
        (source / name).symlink_to(target)
    image = tmp_path / "image"
    if kind == "iso9660":
        tool("xorrisofs", "-quiet", "-R", "-o", image, source)
    elif kind == "ext4":
        tool("mke2fs", "-q", "-t", "ext4", "-d", source, image, "16M")
    else:
        lines = [
            f"{name} l--777 0 0 {target}" for name, target in targets.items() if "/" not in name
        ]
        proto = ["/", "0 0", "d--755 0 0", *lines, "folder d--755 0 0"]
        proto += [f"file ---644 0 0 {source}/folder/file", "$", "up d--755 0 0"]
        proto += [f"above l--777 0 0 {targets['up/above']}", "$", "$"]
        (tmp_path / "proto").write_text("\n".join(proto) + "\n")
        size = f"file,name={image},size=300m"
        tool("mkfs.xfs", "-q", "-p", tmp_path / "proto", "-d", size)
    listed = json.loads(run("ls", image, "-R", "--json").stdout)["entries"]
    links = {each["path"]: each["target"] for each in listed if each["kind"] == "link"}
    assert {path: os.path.normpath(target) for path, target in links.items()} == {
        path: os.path.normpath(target) for path, target in targets.items()
    }
    for name in ("plain", "long", "up/above", "absolute"):
        assert run("extract", image, name, "-").stdout == "text", name
    done = run("extract", image, "/", tmp_path / "found")
    assert done.returncode == 0
    assert {line.split(": ")[2] for line in done.stderr.splitlines()} == {"absolute", "out"}
    assert (tmp_path / "found/long").read_text() == "text"
