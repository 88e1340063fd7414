"""Outputs judged by what a Talos node finds volumes with, and by Talos's rules for releases.

The modules of Talos and go-blockdevice, which tests/talos_oracle asks.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from imager.support.arch import AMD64
from imager.talos.choices import Bootloader
from imager.talos.cmdline import kernel_cmdline
from imager.talos.default_images import find_release
from imager.talos.kernel_arguments import KernelTarget
from imager.talos.version import TalosVersion
from imager.talos.versions import quirks
from tests.lib.caches.caches import CacheFixture, make_flat
from tests.lib.tools.cli import MIB, build, cut, real_assets
from tests.lib.tools.talos_modules import RELEASE, TalosModules

pytestmark = pytest.mark.oracle

ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
BIOS_BOOT = "21686148-6449-6e6f-744e-656564454649"
LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"
BASIC_DATA = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"

Volume = Mapping[str, Any]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CacheFixture:
    return make_flat(tmp_path_factory.mktemp("cache") / "flat", images=2, layers=2)


def by_rule(label: str) -> str:
    """Return the identifier that Talos derives from a label: a UUID of version 8."""
    digest = bytearray(hashlib.sha256(bytes(16) + label.encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(digest)))


def probe(talos: TalosModules, path: Path, *, sector_size: int = 512) -> Volume:
    answer = talos.ask("probe", path=str(path), sector_size=sector_size)
    assert answer.is_right, answer.error
    found: Volume = answer.result
    return found


def made(profile: str, cache: CacheFixture, folder: Path, *more: str) -> Path:
    common = ("--assets", real_assets(), "--image-cache", cache.folder, "--output", folder)
    return Path(build(profile, *common, "--talos-version", RELEASE, *more)["output"])


# --- volumes ----------------------------------------------------------------------------------

DISKS = {
    "grub": ("metal", "--bootloader", "grub"),
    "dual-boot": ("metal", "--bootloader", "dual-boot"),
    "sd-boot": ("metal", "--bootloader", "sd-boot"),
    "metal-4k": ("metal-4k",),
}
BOOT = {
    "grub": [("EFI", ESP, "vfat"), ("BIOS", BIOS_BOOT, ""), ("BOOT", LINUX, "xfs")],
    "dual-boot": [("EFI", ESP, "vfat"), ("BIOS", BIOS_BOOT, ""), ("BOOT", LINUX, "xfs")],
    "sd-boot": [("EFI", ESP, "vfat")],
    "metal-4k": [("EFI", ESP, "vfat")],
}


@pytest.mark.parametrize("name", DISKS)
def test_a_disk(talos: TalosModules, cache: CacheFixture, tmp_path: Path, name: str) -> None:
    profile, *more = DISKS[name]
    disk = made(profile, cache, tmp_path, "--out-format", "raw", "--meta", "0xc=x", *more)
    sector_size = 4096 if name == "metal-4k" else 512
    found = probe(talos, disk, sector_size=sector_size)
    assert (found["name"], found["uuid"]) == ("gpt", by_rule("talos-image-disk"))
    expected = [*BOOT[name], ("META", LINUX, "talosmeta"), ("IMAGECACHE", LINUX, "ext4")]
    parts = [
        (each["partition_label"], each["partition_type"], each["name"]) for each in found["parts"]
    ]
    assert parts == expected
    assert [each["partition_uuid"] for each in found["parts"]] == [
        by_rule(label) for label, _, _ in expected
    ]
    labels = {each["partition_label"]: (each["label"], each["uuid"]) for each in found["parts"]}
    assert labels["IMAGECACHE"] == ("IMAGECACHE", by_rule("IMAGECACHE"))
    assert labels["EFI"][0] == "EFI"
    if "BOOT" in labels:
        assert labels["BOOT"] == ("BOOT", by_rule("BOOT"))
    # What is damaged is not found.
    with disk.open("r+b") as file:
        for offset in (sector_size, found["size"] - sector_size):
            file.seek(offset)
            file.write(b"x")
        cached = found["parts"][-1]
        file.seek(cached["offset"] + 1024 + 56)
        file.write(b"xx")
    assert probe(talos, disk, sector_size=sector_size)["name"] != "gpt"
    volume = cut(disk, cached["offset"], 4 * MIB, tmp_path / "volume")
    assert probe(talos, volume)["name"] != "ext4"


def test_an_iso(talos: TalosModules, cache: CacheFixture, tmp_path: Path) -> None:
    iso = made("iso", cache, tmp_path)
    found = probe(talos, iso)
    # The Joliet descriptor has 16 characters.
    assert found["name"] == "iso9660"
    assert found["label"] == f"TALOS_{RELEASE.upper().replace('.', '_')}"[:16]
    with iso.open("r+b") as file:
        file.seek(16 * 2048 + 1)
        file.write(b"XX")
    assert probe(talos, iso)["name"] != "iso9660"


def test_a_stick(talos: TalosModules, cache: CacheFixture, tmp_path: Path) -> None:
    found = probe(
        talos, made("iso", cache, tmp_path, "--output-kind", "usb", "--out-format", "raw")
    )
    assert found["name"] == "gpt"
    (part,) = found["parts"]
    assert (part["partition_type"], part["name"]) == (BASIC_DATA, "vfat")
    assert part["label"].startswith("TALOS_")
    assert part["partition_label"] == part["label"]


# --- rules for releases -----------------------------------------------------------------------

RELEASES = [f"v1.{minor}.{patch}" for minor in range(3, 15) for patch in (0, 3)]


@pytest.mark.parametrize("release", RELEASES)
def test_the_rules_of_releases(talos: TalosModules, release: str) -> None:
    ours, theirs = quirks(TalosVersion.parse(release)), talos.ask("quirks", version=release).result
    assert {
        "grub_efi_size": ours.efi_size,
        "bios_size": ours.bios_size,
        "boot_size": ours.boot_size,
        "uki_efi_size": ours.unified_efi_size,
        "skip_data_partitions": not ours.data_partitions,
        "reset_entry": ours.reset_entry,
        "uki_profiles": ours.uki_profiles,
        "compressed_meta": ours.meta_gzip,
        "sd_boot_only": ours.bootloader is Bootloader.DUAL_BOOT,
    }.items() <= theirs.items()
    target = KernelTarget(TalosVersion.parse(release), AMD64, iso=True)
    arguments = kernel_cmdline(target).split()
    assert ("talos.halt_if_installed=1" in arguments) == theirs["halt_if_installed"]
    assert ("console=ttyS0" in arguments) == theirs["console_ttys0"]
    assert ("selinux=1" in arguments) == theirs["selinux"]
    assert ("ima_hash=sha512" in arguments) == theirs["ima"]
    assert ("module.sig_enforce=1" in arguments) == theirs["module_signatures"]
    assert ("proc_mem.force_override=never" in arguments) == theirs["proc_mem"]


def test_constants(talos: TalosModules) -> None:
    constants = talos.ask("constants").result
    assert constants["image_cache"] == "IMAGECACHE"
    assert constants["disk_image_bootloader"] == 17
    images = find_release(RELEASE).references
    tags = {
        image.rpartition("/")[2].rpartition(":")[0]: image.rpartition(":")[2] for image in images
    }
    assert tags["kubelet"] == f"v{constants['kubernetes']}"
    assert tags["etcd"] == constants["etcd"]
    assert tags["coredns"] == constants["coredns"]
    assert tags["flannel"] == constants["flannel"]
    assert tags["kube-network-policies"] == constants["network_policies"]
