"""Compressed outputs judged by zstd, gzip, pigz, xz, GNU tar and bsdtar."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.lib.caches.caches import CacheFixture, cut, flip, make_layout
from tests.lib.tools.cli import MIB, build, fingerprint, peak_memory, run, tool

pytestmark = pytest.mark.oracle

EPOCH = "1700000000"
ENVIRONMENT = {"SOURCE_DATE_EPOCH": EPOCH}
TAR = ".tar.gz"
FORMATS = (".zst", ".gz", ".xz", TAR)
# What tests a file, and what decompresses it; several where they are made by others.
TESTERS: dict[str, Sequence[Sequence[str]]] = {
    ".zst": [("zstd", "-tq")],
    ".gz": [("gzip", "-t"), ("pigz", "-t")],
    ".xz": [("xz", "-t"), ("7z", "t")],
    TAR: [("gzip", "-t"), ("tar", "-tzf")],
}
READERS: dict[str, Sequence[Sequence[str]]] = {
    ".zst": [("zstd", "-dcq")],
    ".gz": [("gzip", "-dc"), ("pigz", "-dc"), ("7z", "x", "-so")],
    ".xz": [("xz", "-dc"), ("xz", "-dcT4"), ("7z", "x", "-so")],
    TAR: [("tar", "-xOzf"), ("bsdtar", "-xOf")],
}
KINDS = {
    "metal-amd64.iso": ("iso",),
    "metal-amd64.raw": ("metal",),
    "metal-amd64-usb.img": ("iso", "--output-kind", "usb"),
    "metal-amd64-uki.efi": ("metal", "--output-kind", "uki"),
    "kernel-amd64": ("metal", "--output-kind", "kernel"),
    "initramfs-metal-amd64.xz": ("metal", "--output-kind", "initramfs"),
    "cmdline-metal-amd64": ("metal", "--output-kind", "cmdline"),
}
WITH_FORMAT = pytest.mark.parametrize("form", FORMATS)


@pytest.fixture(scope="module")
def inputs(assets: Path, cache: CacheFixture) -> tuple[str | Path, ...]:
    """Return the options for boot assets and image cache."""
    return ("--assets", assets, "--image-cache", cache.folder)


@pytest.fixture(scope="module")
def outputs(
    inputs: tuple[str | Path, ...], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Return the raw outputs of all kinds, by name."""
    folder = tmp_path_factory.mktemp("raw")
    for command in KINDS.values():
        build(*command, *inputs, "--output", folder, "--out-format", "raw", env=ENVIRONMENT)
    return {name: folder / name for name in KINDS}


@pytest.fixture(scope="module")
def packed(
    inputs: tuple[str | Path, ...], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Return the disk in each format."""
    folder = tmp_path_factory.mktemp("packed")
    for form in FORMATS:
        build("metal", *inputs, "--output", folder, "--out-format", form, env=ENVIRONMENT)
    return {form: folder / f"metal-amd64.raw{form}" for form in FORMATS}


def decompressed(reader: Sequence[str], path: Path, folder: Path) -> str:
    """Decompress a file to a sparse one; return the fingerprint."""
    out = folder / "decompressed"
    script = 'out=$1; shift; "$@" | dd of="$out" bs=1M conv=sparse iflag=fullblock status=none'
    tool("bash", "-o", "pipefail", "-c", script, "sh", out, *reader, path)
    return fingerprint(out)


@WITH_FORMAT
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_in_every_format(
    outputs: dict[str, Path],
    inputs: tuple[str | Path, ...],
    tmp_path: Path,
    name: str,
    form: str,
) -> None:
    command = (*KINDS[name], *inputs, "--output", tmp_path, "--out-format", form)
    told = build(*command, env=ENVIRONMENT)
    path = tmp_path / f"{name}{form}"
    assert told["output"] == str(path)
    assert path.stat().st_size == told["size"]
    reader = READERS[form][0]
    assert decompressed(reader, path, tmp_path) == fingerprint(outputs[name])


@pytest.mark.parametrize(
    ("form", "reader"), [(form, reader) for form in FORMATS for reader in READERS[form][1:]]
)
def test_other_readers_give_the_same_disk(
    packed: dict[str, Path],
    outputs: dict[str, Path],
    tmp_path: Path,
    form: str,
    reader: Sequence[str],
) -> None:
    raw = fingerprint(outputs["metal-amd64.raw"])
    assert decompressed(reader, packed[form], tmp_path) == raw


@pytest.mark.parametrize(
    ("form", "tester"), [(form, tester) for form in FORMATS for tester in TESTERS[form]]
)
def test_testers_object_to_damage(
    inputs: tuple[str | Path, ...], tmp_path: Path, form: str, tester: Sequence[str]
) -> None:
    build("iso", *inputs, "--output", tmp_path, "--out-format", form)
    path = tmp_path / f"metal-amd64.iso{form}"
    tool(*tester, path)
    flip(path, -6)  # in gzip: the checksum; else the end
    refused(tester, path)
    flip(path, -6)
    tool(*tester, path)
    cut(path)
    refused(tester, path)


def refused(tester: Sequence[str], path: Path) -> None:
    with pytest.raises(AssertionError, match=f"{tester[0]}"):
        tool(*tester, path)


def test_a_zst_is_one_frame_with_size_and_checksum(packed: dict[str, Path]) -> None:
    listed = tool("zstd", "-lv", packed[".zst"])
    assert "# Zstandard Frames: 1\n" in listed
    assert f"({1246 * MIB} B)" in listed
    assert "Check: XXH64" in listed


def test_an_xz_is_one_stream_of_many_blocks(packed: dict[str, Path]) -> None:
    *_, total = tool("xz", "--robot", "--list", packed[".xz"]).splitlines()
    name, streams, blocks, _, size, _, check, _ = total.split("\t")[:8]
    assert (name, streams, blocks, int(size)) == ("totals", "1", "1246", 1246 * MIB)
    assert check == "CRC32"


def test_a_tar_is_that_of_gnu_tar(
    packed: dict[str, Path], outputs: dict[str, Path], tmp_path: Path
) -> None:
    """GNU tar finds less data in the file, since its holes are those of the file system."""
    listed = tool("tar", "--numeric-owner", "--full-time", "-tvzf", packed[TAR])
    when = "2023-11-14 22:13:20"
    assert listed == f"-rw-r--r-- 0/0      {1246 * MIB} {when} disk.raw\n"
    tool("tar", "-xzf", packed[TAR], "-C", tmp_path)
    disk = tmp_path / "disk.raw"
    assert fingerprint(disk) == fingerprint(outputs["metal-amd64.raw"])
    assert disk.stat().st_blocks * 512 < 16 * MIB
    ours, theirs = tmp_path / "ours.tar", tmp_path / "theirs.tar"
    ours.write_bytes(gzip.decompress(packed[TAR].read_bytes()))
    numbers = ("--owner=0", "--group=0", "--numeric-owner", f"--mtime=@{EPOCH}", "--mode=0644")
    tool("tar", "--sparse", *numbers, "-cf", theirs, "-C", tmp_path, "disk.raw")
    header, other = ours.read_bytes()[:512], theirs.read_bytes()[:512]
    for start, end in ((0, 124), (136, 148), (156, 386), (483, 512)):
        assert header[start:end] == other[start:end], (start, end)


@pytest.mark.parametrize("form", FORMATS)
def test_the_number_of_cores_changes_nothing(
    packed: dict[str, Path], inputs: tuple[str | Path, ...], tmp_path: Path, form: str
) -> None:
    """taskset restricts this process, as a container with fewer processors does."""
    done = run(
        *("metal", *inputs, "--output", tmp_path, "--out-format", form),
        env=ENVIRONMENT,
        prefix=("taskset", "-c", "0"),
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / packed[form].name).read_bytes() == packed[form].read_bytes()


@pytest.mark.parametrize("form", [".zst", ".gz", ".xz"])
def test_a_large_disk_needs_little_memory_and_space(
    inputs: tuple[str | Path, ...], tmp_path: Path, form: str
) -> None:
    command = ("metal", *inputs, "--output", tmp_path, "--image-disk-size", "6GiB")
    assert peak_memory(*command, "--out-format", form) < 200 * MIB
    assert (tmp_path / f"metal-amd64.raw{form}").stat().st_size < 16 * MIB


@pytest.mark.parametrize("form", [".gz", ".xz"])
def test_compressed_layers(
    outputs: dict[str, Path], assets: Path, cache: CacheFixture, tmp_path: Path, form: str
) -> None:
    layout = make_layout(cache, tmp_path / "layout", codec="zstd")
    common = ("--assets", assets, "--image-cache", layout, "--output", tmp_path)
    build("metal", *common, "--out-format", form, env=ENVIRONMENT)
    path = tmp_path / f"metal-amd64.raw{form}"
    disk = decompressed(READERS[form][0], path, tmp_path)
    assert disk == fingerprint(outputs["metal-amd64.raw"])
