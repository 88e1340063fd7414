"""Measured boot in QEMU with swtpm: what the firmware's TPM has is what was computed beforehand.

The UKI is taken out of the image by mtools, and the machine tells PCR 11. Images for
SecureBoot are measured in `test_secureboot.py`; machines without a TPM are in `test_matrix.py`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from imager.bootassets.find import find_assets
from imager.bootassets.kernelimage import unified_kernel_image
from imager.content.extents import Content
from imager.efi.measured import PcrPolicy, check_pcr_policy
from imager.efi.pcr import TALOS_PHASES
from imager.efi.uki_sections import UkiProfile, os_release
from imager.support.arch import AMD64
from tests.boot.outputs import kernel_arguments
from tests.lib.keys.pcr_keys import PcrKey
from tests.lib.machines.booting import boot
from tests.lib.machines.hardware import Drive
from tests.lib.machines.tpm import tpm_of_a_machine
from tests.lib.machines.witness import firmware_line
from tests.lib.tools.cli import MIB, build, cut, partitions, real_assets, tool
from tests.lib.tools.support import write_content
from tests.lib.tools.trixie import make_trixie_assets

pytestmark = pytest.mark.boot

ARGUMENTS = ("console=ttyS0", "imager.poweroff")


def make_disk(version: str, folder: Path, assets: Path) -> Path:
    options = ("--assets", assets, "--output", folder, "--out-format", "raw")
    kernel = kernel_arguments(*ARGUMENTS)
    done = build("metal", "--talos-version", version, "--bootloader=sd-boot", *options, *kernel)
    return Path(done["output"])


def uki_of(image: Path, name: str) -> Path:
    """Copy the UKI `name` out of the EFI system partition of `image`."""
    (esp,) = (part for part in partitions(image)[1] if part.type_guid.startswith("c12a7328"))
    volume = cut(image, esp.start, esp.size, image.parent / "esp")
    target = image.parent / name
    tool("mcopy", "-i", volume, f"::/EFI/Linux/{name}", target)
    return target


def boot_measured(image: Path) -> str:
    """Return what a machine with a new TPM says until it has told what was measured."""
    with tpm_of_a_machine() as tpm:
        return boot(Drive(image), tpm=tpm, until=r"^firmware: .*\n")


def told(value: bytes) -> str:
    return f"firmware: uefi secureboot=0 pcr11={value.hex()}"


def test_the_default_profile_of_two_is_booted_and_measured(tmp_path: Path) -> None:
    assets = make_trixie_assets(tmp_path / "trixie", default=real_assets())
    image = make_disk("v1.11.0", tmp_path, assets)
    main, reset = check_pcr_policy(Content.of_file(uki_of(image, "Talos-v1.11.0.efi")))
    assert (main.profile, reset.profile) == ("main", "reset-maintenance")
    assert main.value != reset.value
    console = boot_measured(image)
    assert firmware_line(console) == told(main.value)
    command_line = re.search(r"Command line: .*", console)
    assert command_line
    assert "imager.poweroff" in command_line[0]
    assert "wipe" not in command_line[0]
    menu = [line.strip() for line in console[: console.index("Linux version")].splitlines()]
    assert {"Talos (v1.11.0)", "Talos (v1.11.0) (Reset to maintenance mode)"} <= {*menu}


def esp_disk(uki: Path, loader: Path, disk: Path, *, default: str) -> Path:
    """Make a disk that is one FAT volume, of systemd-boot and a UKI; `default` is a glob."""
    with disk.open("wb") as file:
        file.truncate(64 * MIB)
    tool("mformat", "-i", disk, "-F", "::")
    tool("mmd", "-i", disk, "::/EFI", "::/EFI/BOOT", "::/EFI/Linux", "::/loader")
    tool("mcopy", "-i", disk, loader, "::/EFI/BOOT/BOOTX64.EFI")
    tool("mcopy", "-i", disk, uki, "::/EFI/Linux/talos.efi")
    settings = f"timeout 10\ndefault {default}\n".encode()
    tool("mcopy", "-i", disk, "-", "::/loader/loader.conf", stdin=settings)
    return disk


def assert_as_signed(
    assets: Path,
    folder: Path,
    *,
    profiles: tuple[UkiProfile, ...] | None,
    default: str,
    booted: int,
) -> str:
    """Boot a signed UKI: its profile number `booted` is what the TPM has. Return the console."""
    plan = unified_kernel_image(
        find_assets(AMD64, given=assets),
        release=os_release(version="v1.11.0", title="Talos"),
        cmdline=" ".join(ARGUMENTS),
        profiles=profiles,
        pcr_signer=PcrKey.make(folder),
    )
    uki = write_content(plan, folder / "uki.efi")
    policy = check_pcr_policy(Content.of_file(uki))[booted]
    assert policy == PcrPolicy(policy.profile, policy.value, TALOS_PHASES, ())
    loader = assets / "amd64/systemd-boot.efi"
    disk = esp_disk(uki, loader, folder / "disk.raw", default=default)
    console = boot_measured(disk)
    assert firmware_line(console) == told(policy.value)
    return console


def test_what_is_signed_is_what_the_tpm_has(tmp_path: Path) -> None:
    assert_as_signed(real_assets(), tmp_path, profiles=None, default="talos.efi", booted=0)


def test_the_other_profile_has_its_own_value(tmp_path: Path) -> None:
    assets = make_trixie_assets(tmp_path / "trixie", default=real_assets())
    reset = UkiProfile("reset", "Reset", " ".join((*ARGUMENTS, "wipe.it")))
    console = assert_as_signed(assets, tmp_path, profiles=(reset,), default="*reset*", booted=1)
    assert re.search(r"Command line: .* wipe\.it", console)
