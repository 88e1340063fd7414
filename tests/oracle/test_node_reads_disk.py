"""What a Talos node reads back from its disk when it reboots, upgrades, rolls back and resets.

Each name, text and META value here was read by a real node, from 1.9 to 1.14, or by Talos's own
code; foreign tools find them on the disk.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path

import pytest

from imager.support.arch import AMD64
from imager.talos.cmdline import kernel_cmdline
from imager.talos.kernel_arguments import KernelTarget
from imager.talos.version import TalosVersion
from tests.lib.tools.cli import MIB, GptEntry, build, cut, partitions, synthetic_assets, tool
from tests.lib.volumes.grub_menu import Entry, parse_menu

pytestmark = pytest.mark.oracle

WIPE = "talos.experimental.wipe=system:EPHEMERAL,STATE"
RESET = "Reset Talos installation and return to maintenance mode"
# How the node finds loader and UKIs on the ESP, in the spelling of names that Linux shows it.
GLOBS = ("EFI/boot/BOOT*.efi", "EFI/Linux/Talos-*.efi")
TYPES = {
    "EFI": "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
    "BIOS": "21686148-6449-6e6f-744e-656564454649",
    "BOOT": "0fc63daf-8483-4772-8e79-3d69d8477de4",
    "META": "0fc63daf-8483-4772-8e79-3d69d8477de4",
}
OLD = "v1.9.6"
VERSIONS = (OLD, "v1.10.0", "v1.13.0", "v1.14.0-beta.1")
BOOTLOADERS = ("grub", "sd-boot", "dual-boot")


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk with the version and bootloader that it was made for."""

    path: Path
    version: str
    bootloader: str

    @property
    def partitions(self) -> dict[str, GptEntry]:
        return {entry.label: entry for entry in partitions(self.path)[1]}

    def partition(self, label: str, folder: Path) -> Path:
        entry = self.partitions[label]
        return cut(self.path, entry.start, entry.size, folder / f"{label}.img")


@pytest.fixture(scope="module", params=list(product(VERSIONS, BOOTLOADERS)), ids="-".join)
def disk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Disk:
    version, bootloader = request.param
    folder = tmp_path_factory.mktemp("disk")
    which = ("--talos-version", version, "--bootloader", bootloader, "--out-format", "raw")
    assets = synthetic_assets(folder / "assets")
    build("metal", *which, "--assets", assets, "--output", folder)
    return Disk(folder / "metal-amd64.raw", version, bootloader)


def only(*names: str) -> pytest.MarkDecorator:
    pairs = [pair for pair in product(VERSIONS, BOOTLOADERS) if pair[1] in names]
    return pytest.mark.parametrize("disk", pairs, indirect=True, ids="-".join)


def esp_names(disk: Disk, folder: Path) -> list[str]:
    """Return the paths of the ESP's files as Linux shows them: long names, else 8.3 in capitals."""
    listed = tool("mdir", "-/", "-b", "-i", disk.partition("EFI", folder), "::").split()
    return [name.removeprefix("::/") for name in listed if not name.endswith("/")]


def test_partitions_have_the_labels_and_types_that_the_node_knows(disk: Disk) -> None:
    expected = ["EFI", "META"] if disk.bootloader == "sd-boot" else [*TYPES]
    found = {label: entry.type_guid for label, entry in disk.partitions.items()}
    assert found == {label: TYPES[label] for label in expected}
    # GRUB's image has the number of the partition in it.
    assert disk.bootloader == "sd-boot" or list(found).index("BOOT") == 2


def test_firmware_starts_a_loader_that_the_node_finds(disk: Disk, tmp_path: Path) -> None:
    names = esp_names(disk, tmp_path)
    assert [name for name in names if fnmatchcase(name, GLOBS[0])] == ["EFI/boot/BOOTX64.efi"]


@only("sd-boot", "dual-boot")
def test_the_uki_is_the_only_one_to_roll_back_to(disk: Disk, tmp_path: Path) -> None:
    names = esp_names(disk, tmp_path)
    found = [name for name in names if fnmatchcase(name, GLOBS[1])]
    assert found == [f"EFI/Linux/Talos-{disk.version}.efi"]


@only("sd-boot", "dual-boot")
def test_an_upgraded_node_starts_its_version_without_its_variables(
    disk: Disk, tmp_path: Path
) -> None:
    """The node names its default entry in an EFI variable; new firmware has none.

    systemd-boot then starts the newest that loader.conf's pattern matches, or the newest of all;
    it compares names in lower case.
    """
    listed = [name.rpartition("/")[2] for name in esp_names(disk, tmp_path) if "/Linux/" in name]
    resets = [name for name in listed if not name.startswith("Talos-")]
    conf = tool("mtype", "-i", tmp_path / "EFI.img", "::/loader/loader.conf")
    patterns = re.findall(r"^default +(\S+)$", conf, re.MULTILINE)
    assert len(patterns) == len(resets) == (1 if disk.version == OLD else 0)
    later = (f"Talos-{disk.version}.efi", "Talos-v1.99.0.efi", "Talos-v1.99.0~2.efi")
    for pattern in patterns:
        matched = [name for name in (*later, *resets) if fnmatchcase(name.lower(), pattern.lower())]
        assert matched == [*later]


def uki_texts(disk: Disk, folder: Path) -> tuple[list[str], list[str]]:
    """Return the texts of the sections `.profile` and `.cmdline` of all UKIs, the default first."""
    esp = disk.partition("EFI", folder)
    texts: tuple[list[str], list[str]] = ([], [])
    images = [name for name in esp_names(disk, folder) if name.startswith("EFI/Linux/")]
    for name in sorted(images, key=lambda name: not fnmatchcase(name, GLOBS[1])):
        tool("mcopy", "-n", "-i", esp, f"::/{name}", folder / "uki")
        said = tool("objdump", "-h", folder / "uki")
        for section, found in zip((r"\.profile", r"\.cmdline"), texts, strict=True):
            rows = re.findall(rf" {section} +(\w+)  \w+  \w+  (\w+)", said)
            for size, start in rows:
                at = int(start, 16)
                found.append((folder / "uki").read_bytes()[at : at + int(size, 16)].decode())
    return texts


@only("sd-boot", "dual-boot")
def test_the_reset_entry_of_uefi_keeps_bootloader_and_cache(disk: Disk, tmp_path: Path) -> None:
    profiles, cmdlines = uki_texts(disk, tmp_path)
    assert [line.endswith(f" {WIPE}") for line in cmdlines] == [False, True]
    assert cmdlines[1] == f"{cmdlines[0]} {WIPE}"
    assert profiles == (
        []
        if disk.version == OLD
        else ["ID=main", "ID=reset-maintenance\nTITLE=Reset to maintenance mode"]
    )


@only("grub", "dual-boot")
def test_the_node_can_read_and_rewrite_the_menu(disk: Disk, tmp_path: Path) -> None:
    boot = disk.partition("BOOT", tmp_path)
    menu = parse_menu(tool("grub-fstest", boot, "cat", "(loop0)/grub/grub.cfg"))
    cmdline = kernel_cmdline(KernelTarget(TalosVersion.parse(disk.version), AMD64))
    name, kernel, initramfs = f"A - Talos {disk.version}", "/A/vmlinuz", "/A/initramfs.xz"
    assert menu.default == name
    assert menu.entries == (
        Entry(name, kernel, cmdline, initramfs),
        Entry(RESET, kernel, f"{cmdline} {WIPE}", initramfs),
    )
    listed = tool("grub-fstest", boot, "ls", "(loop0)/A/").split()
    assert sorted(listed) == ["initramfs.xz", "vmlinuz"]


@only("grub", "dual-boot")
def test_the_boot_partition_is_found_by_label_and_uuid(disk: Disk, tmp_path: Path) -> None:
    said = tool("blkid", "-p", "-o", "export", disk.partition("BOOT", tmp_path))
    assert {"LABEL=BOOT", "TYPE=xfs", f"UUID={disk.partitions['BOOT'].guid}"} <= {*said.split()}


def test_meta_tells_the_node_to_remove_the_other_bootloader(disk: Disk, tmp_path: Path) -> None:
    raw = disk.partition("META", tmp_path).read_bytes()
    told = disk.bootloader == "dual-boot" and disk.version != OLD
    value = bytes.fromhex("00000011 00000009") + b"dual-boot" + bytes(8)
    assert raw.startswith(bytes.fromhex("5a4b3c2d") + value) == told
    assert told or raw == bytes(MIB)


def test_a_value_of_the_users_takes_the_place_of_ours(tmp_path: Path) -> None:
    which = ("--talos-version", "v1.13.0", "--out-format", "raw", "--output", tmp_path)
    values = ("--meta", "0x11=kept", "--meta", "0xa=x")
    build("metal", *which, "--assets", synthetic_assets(tmp_path / "assets"), *values)
    disk = Disk(tmp_path / "metal-amd64.raw", "v1.13.0", "dual-boot")
    raw = disk.partition("META", tmp_path).read_bytes()
    tags = bytes.fromhex("0000000a 00000001") + b"x" + bytes.fromhex("00000011 00000004") + b"kept"
    assert raw.startswith(bytes.fromhex("5a4b3c2d") + tags + bytes(8))
    assert b"dual-boot" not in raw


def test_arm64_has_the_names_of_its_architecture(tmp_path: Path) -> None:
    assets = synthetic_assets(tmp_path / "assets", arch="arm64")
    which = ("--arch", "arm64", "--talos-version", "v1.13.0", "--out-format", "raw")
    for bootloader in ("grub", "sd-boot"):
        build("metal", *which, "--bootloader", bootloader, "--assets", assets, "--output", tmp_path)
        disk = Disk(tmp_path / "metal-arm64.raw", "v1.13.0", bootloader)
        names = esp_names(disk, tmp_path)
        assert "EFI/boot/BOOTAA64.efi" in names
        assert disk.partition("META", tmp_path).read_bytes() == bytes(MIB)
