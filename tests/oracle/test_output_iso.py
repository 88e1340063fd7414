"""Whole ISOs judged by xorriso, sgdisk, sfdisk, fsck.fat, mtools and sha256sum."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from tests.lib.caches.caches import CacheFixture, flip, make_layout, tree_files
from tests.lib.caches.sparse import BLOB, GIB, make_sparse_flat, mark
from tests.lib.tools.cli import (
    build,
    cut,
    gpt_is_sound,
    partitions,
    real_assets,
    tool,
)

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def iso(cache: CacheFixture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an ISO with the real boot assets, and a cache from a plain OCI layout."""
    folder = tmp_path_factory.mktemp("iso")
    layout = make_layout(cache, folder / "layout")
    build("iso", "--assets", real_assets(), "--image-cache", layout, "--output", folder)
    return folder / "metal-amd64.iso"


def extracted(iso: Path, folder: Path) -> Path:
    """Extract the whole tree with xorriso."""
    tool("xorriso", "-osirrox", "on", "-indev", iso, "-extract", "/", folder)
    tool("chmod", "-R", "u+w", folder)
    return folder


def esp_files(iso: Path, folder: Path) -> dict[str, bytes]:
    """Return the files of the GPT's ESP, extracted by mtools."""
    entry = partitions(iso)[1][0]
    esp = cut(iso, entry.start, entry.size, folder / "esp.img")
    target = folder / "esp"
    target.mkdir()
    tool("mcopy", "-s", "-i", esp, "::*", target)
    return tree_files(target)


def damaged(iso: Path, folder: Path, offset: int) -> Path:
    """Return a copy of `iso` with the byte at `offset` inverted."""
    copy = folder / "damaged.iso"
    copy.write_bytes(iso.read_bytes())
    flip(copy, offset)
    return copy


def test_cache_comes_back_byte_for_byte(iso: Path, cache: CacheFixture, tmp_path: Path) -> None:
    tree = extracted(iso, tmp_path / "tree")
    assert tree_files(tree / "imagecache") == cache.files


def test_extraction_sees_a_damaged_blob(iso: Path, cache: CacheFixture, tmp_path: Path) -> None:
    place = iso.read_bytes().index(cache.blobs[1].read_bytes())
    copy = damaged(iso, tmp_path, place + 50_000)
    assert tree_files(extracted(copy, tmp_path / "tree") / "imagecache") != cache.files


def test_boot_files_are_in_the_tree_and_in_the_esp(iso: Path, tmp_path: Path) -> None:
    tree = tree_files(extracted(iso, tmp_path / "tree"))
    inside = esp_files(iso, tmp_path)
    beside = {"boot.cat", "efi.img", "boot/grub/bios.img"}
    assert inside == {
        path: data
        for path, data in tree.items()
        if path not in beside and not path.startswith("imagecache/")
    }
    loader = (real_assets() / "amd64/grub/x86_64-efi/monolithic/gcdx64.efi").read_bytes()
    assert inside["EFI/BOOT/BOOTX64.EFI"] == loader


def test_partition_is_the_el_torito_image(iso: Path, tmp_path: Path) -> None:
    said = tool("xorriso", "-indev", iso, "-report_el_torito", "plain")
    boot = re.search(r"El Torito boot img : +2 +UEFI +y +none +\S+ +\S+ +\d+ +(\d+)", said)
    assert boot
    image = re.search(r"El Torito img path : +2 +(\S+)", said)
    assert image
    data = (extracted(iso, tmp_path / "tree") / image[1].lstrip("/")).read_bytes()
    (entry,) = partitions(iso)[1]
    assert (entry.start, entry.size) == (int(boot[1]) * 2048, len(data))
    with iso.open("rb") as file:
        file.seek(entry.start)
        assert file.read(entry.size) == data
    assert (entry.label, entry.type_guid) == ("EFI", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
    assert entry.guid == "bca5174b-0118-8a6a-af0b-2c6e1585acae"


def test_gpt_is_sound(iso: Path) -> None:
    assert gpt_is_sound(iso)


def test_sgdisk_sees_damage(iso: Path, tmp_path: Path) -> None:
    for offset in (512 + 56, 1024 + 40, iso.stat().st_size - 512 + 56):
        assert not gpt_is_sound(damaged(iso, tmp_path, offset))


def test_esp_is_sound(iso: Path, tmp_path: Path) -> None:
    (entry,) = partitions(iso)[1]
    tool("fsck.fat", "-n", cut(iso, entry.start, entry.size, tmp_path / "esp.img"))


def test_fsck_sees_damage(iso: Path, tmp_path: Path) -> None:
    (entry,) = partitions(iso)[1]
    esp = cut(iso, entry.start, entry.size, tmp_path / "esp.img")
    reserved = int.from_bytes(esp.read_bytes()[14:16], "little")
    flip(esp, reserved * 512 + 13)
    assert "FATs differ" in tool("fsck.fat", "-n", esp, status=1)


def test_xorriso_complains_of_a_truncated_copy_alone(iso: Path, tmp_path: Path) -> None:
    assert "WARNING" not in tool("xorriso", "-indev", iso, "-check_media", "use=indev", "--")
    short = cut(iso, 0, iso.stat().st_size - (600 << 10), tmp_path / "short.iso")
    assert "WARNING : ISO image size" in tool("xorriso", "-indev", short, status=None)


def test_volume_id(iso: Path) -> None:
    with iso.open("rb") as file:
        file.seek(16 * 2048 + 40)
        assert file.read(32) == b"TALOS_V1_9_0".ljust(32)


def test_checksum_is_what_sha256sum_says(assets: Path, cache: CacheFixture, tmp_path: Path) -> None:
    common = ("--assets", assets, "--image-cache", cache.folder, "--output", tmp_path)
    told = build("iso", *common, "--checksum")["sha256"]
    iso = tmp_path / "metal-amd64.iso"
    assert tool("sha256sum", iso).split()[0] == told
    flip(iso)
    assert tool("sha256sum", iso).split()[0] != told


def test_meta_is_a_kernel_argument(assets: Path, tmp_path: Path) -> None:
    common = ("--assets", assets, "--output", tmp_path)
    build("iso", *common, "--meta", "0xc=two words", "--meta", "0xa=network")
    menu = esp_files(tmp_path / "metal-amd64.iso", tmp_path)["boot/grub/grub.cfg"]
    argument = re.search(rb"talos\.environment=INSTALLER_META_BASE64=([A-Za-z0-9+/=]+)", menu)
    assert argument
    assert base64.b64decode(argument[1], validate=True) == b"0xa=network;0xc=two words"


@pytest.mark.parametrize(
    ("kind", "name"), [("cmdline", "cmdline-metal-amd64"), ("uki", "metal-amd64-uki.efi")]
)
def test_meta_is_a_kernel_argument_of_what_is_no_disk(
    assets: Path, tmp_path: Path, kind: str, name: str
) -> None:
    common = ("--assets", assets, "--output", tmp_path, "--out-format", "raw")
    build("metal", *common, "--output-kind", kind, "--meta", "0xa=network")
    value = base64.b64encode(b"0xa=network")
    argument = b"talos.environment=INSTALLER_META_BASE64=" + value
    assert argument in (tmp_path / name).read_bytes()


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_compressed_layers_give_the_same_files(
    assets: Path, cache: CacheFixture, tmp_path: Path, codec: str
) -> None:
    layout = make_layout(cache, tmp_path / "layout", codec=codec)
    build("iso", "--assets", assets, "--image-cache", layout, "--output", tmp_path)
    tree = extracted(tmp_path / "metal-amd64.iso", tmp_path / "tree")
    assert tree_files(tree / "imagecache") == cache.files


def test_file_above_4_gib(assets: Path, tmp_path: Path) -> None:
    size, marks = 5 * GIB + 12_345, (0, 4 * GIB - 3, 5 * GIB + 12_336)
    cache = make_sparse_flat(tmp_path / "flat", size=size, marks=marks)
    common = ("--assets", assets, "--image-cache", cache, "--output", tmp_path)
    build("iso", *common, "--no-verify")
    iso, inner = tmp_path / "metal-amd64.iso", f"/imagecache/{BLOB}"
    said = tool("xorriso", "-indev", iso, "-find", inner, "-exec", "lsdl")
    assert re.search(rf"\b{size}\b", said)
    places = tool("xorriso", "-indev", iso, "-find", inner, "-exec", "report_lba")
    parts = re.findall(r"File data lba: +(\d+) , +(\d+) , +(\d+) , +(\d+)", places)
    assert sum(int(blocks) for _, _, blocks, _ in parts) == -(-size // 2048)
    with iso.open("rb") as file:
        for offset in marks:
            file.seek(place_of(parts, offset))
            assert file.read(9) == mark(offset)


def place_of(parts: list[tuple[str, str, str, str]], offset: int) -> int:
    """Return the byte of the ISO at which byte `offset` of a file in several extents lies."""
    for _, lba, blocks, _ in parts:
        if offset < int(blocks) * 2048:
            return int(lba) * 2048 + offset
        offset -= int(blocks) * 2048
    raise AssertionError("behind the end of the file")


@pytest.mark.parametrize(
    ("version", "short"),
    [("v1.13.0-beta.1", "TALOS_V1_13_0_BE"), ("v1.12.0-a1", ""), ("v1.9.0", "")],
)
def test_a_label_that_joliet_cuts_off_is_said(
    assets: Path, tmp_path: Path, version: str, short: str
) -> None:
    """A node reads an ISO's label from Joliet, whose place for it has 16 characters."""
    which = ("--talos-version", version, "--bootloader", "sd-boot")
    notes = build("iso", "--assets", assets, "--output", tmp_path, *which)["notes"]
    said = [note for note in notes if "volume label" in note]
    assert len(said) == bool(short)
    assert all(note.endswith(f" show {short}") for note in said)
    iso = (tmp_path / "metal-amd64.iso").read_bytes()
    joliet = iso.index(b"\2CD001\1", 16 * 2048) + 40
    label = iso[joliet : joliet + 32].decode("utf-16-be").rstrip()
    assert label == (short or f"TALOS_{version.upper().translate(str.maketrans('.-', '__'))}")
