"""`imager inspect` on images of this and of other makers, judged by their own tools."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from imager.app.inspect import inspect_image
from tests.lib.caches.caches import CacheFixture, make_layout
from tests.lib.tools.cli import MIB, build, cut, peak_memory, real_assets, run, tool

pytestmark = pytest.mark.oracle


def inspected(source: Path) -> dict[str, Any]:
    done = run("inspect", source, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inspected")


@pytest.fixture(scope="module")
def disk(cache: CacheFixture, folder: Path) -> Path:
    """Return a disk that boots by UEFI and BIOS, with META and a cache."""
    layout = make_layout(cache, folder / "layout")
    common = ("--assets", real_assets(), "--image-cache", layout, "--output", folder)
    build("metal", *common, "--out-format", "raw", "--meta", "0xc=hello")
    return folder / "metal-amd64.raw"


@pytest.fixture(scope="module")
def iso(cache: CacheFixture, folder: Path) -> Path:
    layout = make_layout(cache, folder / "iso-layout")
    build("iso", "--assets", real_assets(), "--image-cache", layout, "--output", folder)
    return folder / "metal-amd64.iso"


@pytest.fixture(scope="module")
def of_disk(disk: Path) -> Mapping[str, Any]:
    return inspected(disk)


def test_partitions_are_those_of_sfdisk(disk: Path, of_disk: Mapping[str, Any]) -> None:
    table = json.loads(tool("sfdisk", "--json", disk))["partitiontable"]
    assert of_disk["table"]["uuid"].upper() == table["id"]
    assert [
        (each["offset"], each["size"], each["label"], each["typeId"].upper(), each["uuid"].upper())
        for each in of_disk["partitions"]
    ] == [
        (each["start"] * 512, each["size"] * 512, each["name"], each["type"], each["uuid"])
        for each in table["partitions"]
    ]
    ends = [region["offset"] + region["size"] for region in of_disk["regions"]]
    assert [0, *ends[:-1]] == [region["offset"] for region in of_disk["regions"]]
    assert ends[-1] == disk.stat().st_size


def volume(found: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return next(each for each in found["volumes"] if each["kind"] == kind)


def part(disk: Path, found: Mapping[str, Any], label: str, target: Path) -> Path:
    entry = next(each for each in found["partitions"] if each["label"] == label)
    return cut(disk, entry["offset"], entry["size"], target)


def test_file_systems_are_those_of_their_tools(
    disk: Path, of_disk: Mapping[str, Any], tmp_path: Path
) -> None:
    ext4 = volume(of_disk, "ext4")
    said = dict(
        re.findall(
            r"(?m)^([A-Z].*?):\s+(.*)$",
            tool("dumpe2fs", "-h", part(disk, of_disk, "IMAGECACHE", tmp_path / "cache")),
        )
    )
    block = int(said["Block size"])
    assert ext4["label"] == said["Filesystem volume name"]
    assert ext4["uuid"] == said["Filesystem UUID"]
    assert ext4["size"] == int(said["Block count"]) * block
    assert ext4["size"] - ext4["used"] == int(said["Free blocks"]) * block

    esp = part(disk, of_disk, "EFI", tmp_path / "esp")
    counted = re.search(r"(\d+) files, (\d+)/(\d+) clusters", tool("fsck.fat", "-n", esp))
    assert counted
    listed = tool("mdir", "-i", esp, "-b", "-/", "::").split("\n")
    fat = volume(of_disk, "fat32")
    assert fat["files"] == sum(not line.endswith("/") for line in filter(None, listed))
    free = fat["size"] - fat["used"]
    per_cluster = re.search(r"(\d+) bytes per cluster", tool("fsck.fat", "-n", "-v", esp))
    assert per_cluster
    assert free == (int(counted[3]) - int(counted[2])) * int(per_cluster[1])
    assert fat["uuid"] == tool("blkid", "-p", "-o", "value", "-s", "UUID", esp).strip()

    xfs = volume(of_disk, "xfs")
    boot = part(disk, of_disk, "BOOT", tmp_path / "boot")
    fields = dict(
        re.findall(r"(?m)^(\w+) = (\S+)$", tool("xfs_db", "-r", "-c", "sb 0", "-c", "p", boot))
    )
    size = int(fields["blocksize"])
    assert (xfs["size"], xfs["uuid"]) == (int(fields["dblocks"]) * size, fields["uuid"])
    assert xfs["used"] == (int(fields["dblocks"]) - int(fields["fdblocks"])) * size


def test_what_a_disk_of_talos_has(of_disk: Mapping[str, Any], cache: CacheFixture) -> None:
    assert (of_disk["kind"], of_disk["talos"], of_disk["findings"]) == ("disk", "v1.9.0", [])
    assert of_disk["meta"] == [{"key": 0xC, "value": "hello"}]
    grub = [each for each in of_disk["boot"] if each["by"] == "GRUB" and each["kernel"]]
    assert any("talos.platform=metal" in each["cmdline"] for each in grub)
    assert any(each["isDefault"] for each in grub)
    assert {each["firmware"] for each in of_disk["boot"]} >= {"bios", "uefi"}
    release = tool("file", real_assets() / "amd64/vmlinuz").partition("version ")[2].split()[0]
    assert {each["version"] for each in of_disk["kernels"]} == {release}
    names = [each["name"] for each in of_disk["cache"]["images"]]
    assert len(names) == 3
    assert of_disk["cache"]["size"] == sum(len(data) for data in cache.files.values())


def test_a_disk_of_4_gib_takes_little(cache: CacheFixture, tmp_path: Path) -> None:
    """Memory, and time in the processor: starting takes most of both."""
    layout = make_layout(cache, tmp_path / "layout")
    common = ("--assets", real_assets(), "--image-cache", layout, "--output", tmp_path)
    build("metal", *common, "--out-format", "raw", "--image-disk-size", "4GiB")
    assert peak_memory("inspect", tmp_path / "metal-amd64.raw") < 80 * MIB
    begun = time.process_time()
    assert inspect_image(str(tmp_path / "metal-amd64.raw")).talos == "v1.9.0"
    assert time.process_time() - begun < 1


def test_an_iso_is_what_xorriso_reports(iso: Path) -> None:
    found = inspected(iso)
    assert (found["kind"], found["talos"], found["findings"]) == ("iso", "v1.9.0", [])
    listed, folders = (
        {line for line in tool(*command).split("\n") if line.startswith("'/")}
        for command in (
            ("xorriso", "-indev", iso, "-find", "/"),
            ("xorriso", "-indev", iso, "-find", "/", "-type", "d"),
        )
    )
    assert volume(found, "iso9660")["files"] == len(listed - folders)
    report = tool("xorriso", "-indev", iso, "-report_el_torito", "plain")
    platforms = re.findall(r"(?m)^El Torito boot img :\s+\d+\s+(BIOS|UEFI)", report)
    booted = [each["firmware"] for each in found["boot"] if each["by"] == "El Torito"]
    assert [platform.lower() for platform in platforms] == booted
    assert volume(found, "iso9660")["label"] in report


FORMATS = (
    ("qcow2", "-c"),
    ("qcow2", "-o", "cluster_size=4k"),
    ("qcow2", "-c", "-o", "compression_type=zstd"),
    ("qcow2", "-o", "compat=0.10"),
    ("vpc", "-o", "subformat=dynamic"),
    ("vpc", "-o", "subformat=fixed"),
    ("vmdk", "-o", "subformat=streamOptimized"),
    ("vmdk", "-o", "subformat=monolithicSparse"),
)


@pytest.mark.parametrize("options", FORMATS, ids="-".join)
def test_formats_of_qemu_contain_the_same(
    options: tuple[str, ...], disk: Path, of_disk: Mapping[str, Any], tmp_path: Path
) -> None:
    name, *more = options
    packed = tmp_path / "packed"
    force = ["-o", "force_size=on"] if name == "vpc" else []
    tool("qemu-img", "convert", "-O", name, *more, *force, disk, packed)
    found = inspected(packed)
    assert found["source"]["formats"] == ["vhd" if name == "vpc" else name]
    assert without_source(found) == without_source(of_disk)


def without_source(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key != "source"}


@pytest.mark.parametrize("program", ["zstd", "xz", "gzip"])
def test_compressed_images_contain_the_same(program: str, iso: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    with packed.open("wb") as file:
        subprocess.run([program, "-1", "-c", iso], stdout=file, check=True)
    found = inspected(packed)
    assert found["source"]["formats"] == [program]
    assert without_source(found) == without_source(inspected(iso))
    cut_off = packed.read_bytes()[: packed.stat().st_size // 2]
    packed.write_bytes(cut_off)
    found = inspected(packed)
    assert found["kind"] == "iso"
    assert any("behind byte" in each["problem"] for each in found["findings"])


def test_appliances_and_cloud_archives(cache: CacheFixture, tmp_path: Path) -> None:
    layout = make_layout(cache, tmp_path / "layout")
    common = ("--assets", real_assets(), "--image-cache", layout, "--output", tmp_path)
    build("vmware", *common)
    build("gcp", *common)
    for path, formats in ((".ova", ["ova", "vmdk"]), (".tar.gz", ["gzip", "tar"])):
        (image,) = tmp_path.glob(f"*{path}")
        found = inspected(image)
        assert found["source"]["formats"] == formats
        assert (found["kind"], found["talos"], found["findings"]) == ("disk", "v1.9.0", [])
        assert len(found["cache"]["images"]) == 3


def start_of(image: Path, number: int) -> int:
    listed = json.loads(tool("sfdisk", "--json", image))["partitiontable"]["partitions"]
    (start,) = [each["start"] for each in listed if each["node"] == f"{image}{number}"]
    return int(start) * 512


def test_a_disk_with_an_mbr_and_file_systems_of_mkfs(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(400 * MIB)
    tool(
        "sfdisk", image, stdin=b"label: dos\n2048,40M,c,*\n,40M,83\n,,5\n,200K,82\n,316M,83\n",
    )  # fmt: skip
    uuids = {}
    for start, size, command in (
        (2048 * 512, 40 * MIB, ("mkfs.fat", "-F", "32", "-n", "BOOT")),
        (2048 * 512 + 40 * MIB, 40 * MIB, ("mkfs.ext4", "-q", "-L", "root")),
        (start_of(image, 6), 316 * MIB, ("mkfs.xfs", "-q", "-L", "data")),
    ):
        path = tmp_path / command[0]
        with path.open("wb") as file:
            file.truncate(size)
        tool(*command, path)
        uuids[start] = tool("blkid", "-p", "-o", "value", "-s", "UUID", path).strip()
        tool(
            "dd", f"if={path}", f"of={image}", "conv=notrunc,sparse", "bs=1M", "oflag=seek_bytes",
            f"seek={start}",
        )  # fmt: skip
    found = inspected(image)
    assert [(each["kind"], each["label"], each["uuid"]) for each in found["volumes"]] == [
        ("fat32", "BOOT", uuids[2048 * 512]),
        ("ext4", "root", uuids[2048 * 512 + 40 * MIB]),
        ("xfs", "data", uuids[start_of(image, 6)]),
    ]
    assert [each["flags"] for each in found["partitions"]] == [["active"], [], [], []]
    assert [each["number"] for each in found["partitions"]] == [1, 2, 5, 6]
    assert found["partitions"][2]["offset"] == start_of(image, 5)
    assert found["findings"] == []


def test_ukis_are_what_objdump_lists(disk: Path, tmp_path: Path) -> None:
    build("metal-uki", "--assets", real_assets(), "--output", tmp_path)
    (path,) = tmp_path.glob("*.efi")
    found = inspected(path)
    (uki,) = found["ukis"]
    listed = re.findall(r"(?m)^\s*\d+ (\.\w+)\s+([0-9a-f]{8})", tool("objdump", "-h", path))
    assert [(each["name"], each["size"]) for each in uki["sections"]] == [
        (name, int(size, 16)) for name, size in listed
    ]
    assert (found["kind"], found["talos"]) == ("uki", "v1.9.0")
    assert "talos.platform=metal" in uki["profiles"][0]["cmdline"]
    initramfs = inspected(real_assets() / "amd64/initramfs.xz")
    assert initramfs["kind"] == "initramfs"
    assert found["initramfs"][0]["archives"] == initramfs["initramfs"][0]["archives"] == ["zstd"]


@pytest.mark.parametrize("text", ["--html", "--svg"])
def test_pages_are_whole(text: str, iso: Path, tmp_path: Path) -> None:
    page = tmp_path / "page"
    done = run("inspect", iso, text, page)
    assert done.returncode == 0, done.stderr
    said = page.read_text()
    assert "GPT backup" in said
    assert "http" not in said.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    if text == "--svg":
        assert ElementTree.fromstring(said).tag.endswith("svg")


def test_a_container_image_is_what_skopeo_says(layout: Path, tmp_path: Path) -> None:
    said = json.loads(tool("skopeo", "inspect", f"oci:{layout}:v1"))
    archive, saved = tmp_path / "oci.tar", tmp_path / "docker.tar"
    tool("skopeo", "copy", "-q", f"oci:{layout}:v1", f"oci-archive:{archive}:v1")
    tool("skopeo", "copy", "-q", f"oci:{layout}:v1", f"docker-archive:{saved}:team/app:v1")
    for place in (layout, archive):
        found = inspected(place)
        assert (found["kind"], found["findings"]) == ("container-images", [])
        (image,) = found["containers"]
        assert [layer["digest"] for layer in image["layers"]] == said["Layers"]
        assert image["platform"] == f"{said['Os']}/{said['Architecture']}"
        assert image["labels"] == (said["Labels"] or {})
        assert (image["kind"], image["digest"]) == ("image", said["Digest"])
    # An archive of `docker save` without a layout is no more than a tar.
    assert inspected(saved)["unknown"]
