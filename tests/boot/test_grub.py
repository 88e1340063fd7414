"""What the boot menus hand to the kernel, and what a machine says when they are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.boot.outputs import make_image
from tests.lib.machines.qemu import (
    GRUB_NEXT,
    SD_BOOT_NEXT,
    BootError,
    Device,
    Firmware,
    boot,
    plain,
)
from tests.lib.tools.cli import partitions

pytestmark = pytest.mark.boot

# All that a shell would take for more than a letter, without what GRUB cannot hand on.
ODD = ("odd=$root;ls}&|<>*?~#{a,b}%s!`x`(y)", "{x}", "[a-z]*", "/A/vm[lm]", "?", "$", "x=(hd0)/*")
GRUB = "GNU GRUB  version"
RESET = "talos.experimental.wipe=system"
DISK_RESET = f"{RESET}:EPHEMERAL,STATE"


def command_line(console: str) -> str:
    (line, *_) = (line for line in console.splitlines() if "ommand line: " in line)
    return line.partition("ommand line: ")[2]


def test_grub_hands_on_the_very_command_line(tmp_path: Path) -> None:
    words = [part for word in ODD for part in ("--extra-kernel-arg", word)]
    image = make_image("metal", tmp_path, "--bootloader=grub", *words)
    console = boot(image, Device.SATA, firmware=Firmware.BIOS)
    for said in (console, boot(image, Device.SATA)):
        assert command_line(said).startswith("BOOT_IMAGE=/A/vmlinuz talos.platform=metal ")
        assert command_line(said).endswith(f" imager.poweroff {' '.join(ODD)}")
    # SeaBIOS puts on the serial line what is on the screen; GRUB does so itself once more.
    assert plain(console).count(GRUB) == 2


@pytest.mark.parametrize(
    ("profile", "bootloader", "firmware", "keys"),
    [
        ("iso", "grub", Firmware.BIOS, GRUB_NEXT),
        ("metal", "grub", Firmware.UEFI, GRUB_NEXT),
        ("metal", "sd-boot", Firmware.UEFI, SD_BOOT_NEXT),
    ],
    ids=["grub-bios", "grub-uefi", "sd-boot"],
)
def test_the_other_entry_resets(
    profile: str, bootloader: str, firmware: Firmware, keys: bytes, tmp_path: Path
) -> None:
    image = make_image(profile, tmp_path, f"--bootloader={bootloader}")
    device, reset = (Device.CD, RESET) if profile == "iso" else (Device.VIRTIO, DISK_RESET)
    console = boot(image, device, firmware=firmware, keys=keys)
    assert command_line(console).endswith(f" {reset}")
    assert RESET not in command_line(boot(image, device, firmware=firmware))


def test_a_bios_without_menu_and_without_boot_code_does_not_go_on(tmp_path: Path) -> None:
    image = make_image("metal", tmp_path, "--bootloader=grub")
    (start,) = (part.start for part in partitions(image)[1] if part.label == "BOOT")
    with image.open("r+b") as file:
        file.seek(start)
        file.write(bytes(4096))
    with pytest.raises(BootError, match=r"does not go on; (.*\n)*.*Minimal BASH"):
        boot(image, Device.VIRTIO, firmware=Firmware.BIOS)
    with image.open("r+b") as file:
        file.write(bytes(512))
    with pytest.raises(BootError, match="No bootable device"):
        boot(image, Device.VIRTIO, firmware=Firmware.BIOS)
