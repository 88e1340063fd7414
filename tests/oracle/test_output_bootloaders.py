"""Each bootloader on an ISO and a disk, judged by xorriso, sfdisk, xfs_repair, mtools and GRUB."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.lib.caches.caches import flip, make_flat
from tests.lib.tools.cli import (
    MIB,
    build,
    cut,
    gpt_is_sound,
    partitions,
    real_assets,
    synthetic_assets,
    tool,
)

pytestmark = pytest.mark.oracle

RESET = "talos.experimental.wipe=system"
BOOTLOADERS = ("sd-boot", "grub", "dual-boot")


@pytest.fixture(scope="module", params=BOOTLOADERS)
def bootloader(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def outputs(bootloader: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an ISO and a disk of real boot assets, and a small cache."""
    folder = tmp_path_factory.mktemp("outputs")
    cache = make_flat(folder / "cache", images=1, blob_size=5_000).folder
    common = ("--assets", real_assets(), "--image-cache", cache, "--output", folder)
    build("iso", *common, "--bootloader", bootloader)
    build("metal", *common, "--bootloader", bootloader, "--out-format", "raw")
    return folder


@pytest.fixture
def iso(outputs: Path) -> Path:
    return outputs / "metal-amd64.iso"


@pytest.fixture
def disk(outputs: Path) -> Path:
    return outputs / "metal-amd64.raw"


def only(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("bootloader", names, indirect=True)


def asset(name: str) -> bytes:
    return (real_assets() / "amd64" / name).read_bytes()


def partition(disk: Path, label: str, folder: Path) -> Path:
    (entry,) = (entry for entry in partitions(disk)[1] if entry.label == label)
    return cut(disk, entry.start, entry.size, folder / f"{label}.img")


def in_tree(iso: Path, path: str, folder: Path) -> bytes:
    tool("xorriso", "-osirrox", "on", "-indev", iso, "-extract", path, folder / "file")
    return (folder / "file").read_bytes()


def lba(iso: Path, path: str) -> tuple[int, int]:
    """Return the first and the last sector of a file."""
    said = tool("xorriso", "-indev", iso, "-find", path, "-exec", "report_lba")
    found = re.search(r"File data lba: +\d+ , +(\d+) , +(\d+) ,", said)
    assert found
    return int(found[1]), int(found[1]) + int(found[2]) - 1


def test_both_tables_are_sound(iso: Path, disk: Path) -> None:
    assert gpt_is_sound(iso)
    assert gpt_is_sound(disk)


def test_firmware_finds_its_el_torito_entry(bootloader: str, iso: Path) -> None:
    said = tool("xorriso", "-indev", iso, "-report_el_torito", "plain")
    entries = re.findall(r"boot img : +\d+ +(\w+)", said)
    assert entries == (["UEFI"] if bootloader == "sd-boot" else ["BIOS", "UEFI"])


@only("grub", "dual-boot")
def test_the_mbr_is_grubs_and_finds_its_image(iso: Path) -> None:
    """xorriso knows the boot code by its bytes, and what it leads to by the sector in it."""
    said = tool("xorriso", "-indev", iso, "-report_system_area", "plain")
    assert "grub2-mbr" in said
    first, _ = lba(iso, "/boot/grub/bios.img")
    assert int.from_bytes(iso.read_bytes()[0x1B0:0x1B8], "little") == first * 4 + 4


@only("sd-boot")
def test_without_a_bios_there_is_no_boot_code(iso: Path, disk: Path) -> None:
    assert iso.read_bytes()[:440] == bytes(440)
    with disk.open("rb") as file:
        assert file.read(440) == bytes(440)


@only("grub", "dual-boot")
@pytest.mark.parametrize("name", ["vmlinuz", "initramfs.xz"])
def test_the_kernel_is_in_the_tree_and_on_the_iso_once(
    iso: Path, name: str, tmp_path: Path
) -> None:
    assert in_tree(iso, f"/boot/{name}", tmp_path) == asset(name)
    image, file = lba(iso, "/efi.img"), lba(iso, f"/boot/{name}")
    assert image[0] < file[0]
    assert file[1] <= image[1]


@only("grub", "dual-boot")
def test_the_menu_has_both_entries(iso: Path, tmp_path: Path) -> None:
    menu = in_tree(iso, "/boot/grub/grub.cfg", tmp_path).decode()
    lines = re.findall(r"^  linux (.*)$", menu, re.MULTILINE)
    assert len(lines) == 2
    assert lines[1] == f"{lines[0]} {RESET}"
    assert "serial" not in menu
    (tmp_path / "grub.cfg").write_text(menu)
    tool("grub-script-check", tmp_path / "grub.cfg")
    (tmp_path / "grub.cfg").write_text(menu.replace("}\n", "", 1))
    tool("grub-script-check", tmp_path / "grub.cfg", status=1)


@only("grub", "dual-boot")
def test_the_boot_partition(disk: Path, tmp_path: Path) -> None:
    boot = partition(disk, "BOOT", tmp_path)
    tool("xfs_repair", "-n", boot)
    for name in ("vmlinuz", "initramfs.xz"):
        tool("grub-fstest", boot, "cmp", f"(loop0)/A/{name}", real_assets() / "amd64" / name)
    menu = tool("grub-fstest", boot, "cat", "(loop0)/grub/grub.cfg")
    (tmp_path / "grub.cfg").write_text(menu)
    tool("grub-script-check", tmp_path / "grub.cfg")


@only("grub")
def test_xfs_repair_sees_damage(disk: Path, tmp_path: Path) -> None:
    boot = partition(disk, "BOOT", tmp_path)
    flip(boot, 200)
    tool("xfs_repair", "-n", boot, status=1)


@only("grub", "dual-boot")
def test_the_bios_partition_is_where_the_mbr_looks(disk: Path, tmp_path: Path) -> None:
    table = json.loads(tool("sfdisk", "-J", disk))["partitiontable"]
    (entry,) = (part for part in table["partitions"] if part["name"] == "BIOS")
    assert entry["type"] == "21686148-6449-6E6F-744E-656564454649"
    assert entry["attrs"] == "LegacyBIOSBootable"
    with disk.open("rb") as file:
        boot_code = file.read(440)
        file.seek(entry["start"] * 512 + 0x1F4)
        following = int.from_bytes(file.read(8), "little")
    assert int.from_bytes(boot_code[0x5C:0x64], "little") == entry["start"]
    assert following == entry["start"] + 1


@only("sd-boot", "dual-boot")
def test_each_entry_has_an_image(disk: Path, tmp_path: Path) -> None:
    esp = partition(disk, "EFI", tmp_path)
    listed = tool("mdir", "-b", "-i", esp, "::/EFI/Linux").split()
    names = ["Talos-v1.9.0.efi", "reset-maintenance-Talos-v1.9.0.efi"]
    assert sorted(listed) == [f"::/EFI/Linux/{name}" for name in names]
    conf = tool("mtype", "-i", esp, "::/loader/loader.conf").splitlines()
    assert [line for line in conf if line] == [
        "# systemd-boot configuration",
        "timeout 10",
        "default Talos-*.efi",
    ]
    for name, reset in zip(names, (False, True), strict=True):
        tool("mcopy", "-n", "-i", esp, f"::/EFI/Linux/{name}", tmp_path / name)
        assert (RESET.encode() in (tmp_path / name).read_bytes()) == reset


def test_an_old_stub_gets_no_profiles(tmp_path: Path) -> None:
    """Debian's stub is 252, which would take the last command line of several."""
    common = ("--output", tmp_path, "--talos-version", "v1.10.0", "--dry-run")
    old = build("iso", "--assets", real_assets(), *common)["regions"]
    new = build("iso", "--assets", synthetic_assets(tmp_path / "assets"), *common)["regions"]
    assert sum("/EFI/Linux/" in region["name"] for region in old) == 2
    assert sum("/EFI/Linux/" in region["name"] for region in new) == 1


@pytest.mark.parametrize(("version", "entries"), [("v1.3.0", 1), ("v1.4.0", 2)])
def test_resetting_came_with_1_4(version: str, entries: int, tmp_path: Path) -> None:
    assets = synthetic_assets(tmp_path / "assets")
    build("iso", "--assets", assets, "--output", tmp_path, "--talos-version", version)
    menu = in_tree(tmp_path / "metal-amd64.iso", "/boot/grub/grub.cfg", tmp_path).decode()
    assert menu.count("menuentry") == entries


def test_the_menu_is_on_the_serial_line_when_the_console_is(tmp_path: Path) -> None:
    assets = synthetic_assets(tmp_path / "assets")
    console = ("--extra-kernel-arg", "console=ttyS0,115200")
    build("iso", "--assets", assets, "--output", tmp_path, *console)
    menu = in_tree(tmp_path / "metal-amd64.iso", "/boot/grub/grub.cfg", tmp_path).decode()
    assert "terminal_output console serial" in menu


def test_sectors_of_4096_bytes(tmp_path: Path) -> None:
    assets = synthetic_assets(tmp_path / "assets")
    cache = make_flat(tmp_path / "cache", images=1, blob_size=5_000).folder
    common = ("--assets", assets, "--image-cache", cache, "--output", tmp_path)
    build("metal-4k", *common, "--out-format", "raw")
    disk = tmp_path / "metal-amd64.raw"
    said = tool("fdisk", "-b", "4096", "-l", disk)
    assert f"Disklabel type: gpt\nDisk identifier: {DISK_GUID}" in said
    rows = re.findall(r"\.raw\d +(\d+) +(\d+) +\d+ +\S+ +(.*)$", said, re.MULTILINE)
    assert [(int(start) * 4096, name) for start, _, name in rows] == [
        (MIB, "EFI System"),
        (1102 * MIB, "Linux filesystem"),
        (1103 * MIB, "Linux filesystem"),
    ]
    esp = cut(disk, MIB, 1101 * MIB, tmp_path / "esp.img")
    tool("fsck.fat", "-n", esp)
    with esp.open("rb") as file:
        head = file.read(16)
    assert head[11:13] == (4096).to_bytes(2, "little")
    flip(esp, int.from_bytes(head[14:16], "little") * 4096 + 13)
    tool("fsck.fat", "-n", esp, status=1)


DISK_GUID = "D92D45B3-CDE9-8760-BE9F-A2A71FAC8D11"
