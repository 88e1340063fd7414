"""What the boot menus hand to the kernel, and what a machine says when they are not there."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.boot.outputs import kernel_arguments, make_image
from tests.lib.machines.booting import boot
from tests.lib.machines.hardware import Device, Drive, Firmware
from tests.lib.machines.menus import GRUB_NEXT, SD_BOOT_NEXT, Chooser
from tests.lib.machines.qemu import BootError
from tests.lib.tools.cli import partitions, tool

pytestmark = pytest.mark.boot

# All that a shell would take for more than a letter, without what GRUB cannot hand on.
ODD = (
    "odd=$root;ls}&|<>*?~#{a,b}%s!`x`(y)",
    *("{x}", "[a-z]*", "/A/vm[lm]", "/boot/vm[lm]", "?", "$", "x=(hd0)/*"),
)
RESET = "talos.experimental.wipe=system"
COMMAND_LINE = r"ommand line: .*\n"
DISK_RESET = f"{RESET}:EPHEMERAL,STATE"
ISO_MENU = ("Talos ISO", "Reset Talos installation")
DISK_MENU = ("A - Talos v1.9.0", f"{ISO_MENU[1]} and return to maintenance mode")
UKI_MENU = ("Talos (v1.9.0)", "Reset to maintenance mode")


def command_line(console: str) -> str:
    (line, *_) = (line for line in console.splitlines() if "ommand line: " in line)
    return line.partition("ommand line: ")[2]


def without_timeout(image: Path) -> Path:
    """Have GRUB's menu wait for a person: the line that sets its timeout becomes a comment."""
    with image.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        place = content.find(b"\nset timeout=3\n")
        assert place >= 0
        while place >= 0:
            content[place + 1] = ord("#")
            place = content.find(b"\nset timeout=3\n", place)
    return image


@dataclass(frozen=True, slots=True)
class Case:
    """An output whose menu has these two entries, the second of which adds `reset`."""

    profile: str
    device: Device
    firmware: Firmware
    menu: tuple[str, str]
    kernel: str
    reset: str


CASES = {
    # GRUB itself is on the serial line then, not the BIOS with what is on a screen.
    "bios": Case("iso", Device.CD, Firmware.MUTE_BIOS, ISO_MENU, "/boot/vmlinuz", RESET),
    "uefi": Case("metal", Device.SATA, Firmware.UEFI, DISK_MENU, "/A/vmlinuz", DISK_RESET),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_grub_hands_on_the_very_command_line_of_the_entry_that_is_chosen(
    case: Case, tmp_path: Path
) -> None:
    image = make_image(case.profile, tmp_path, "--bootloader=grub", *kernel_arguments(*ODD))
    drive = Drive(without_timeout(image), case.device)
    person = Chooser(*case.menu, GRUB_NEXT)
    console = boot(drive, by=case.firmware, person=person, until=COMMAND_LINE)
    assert "GNU GRUB  version" in console
    said = command_line(console)
    assert said.startswith(f"BOOT_IMAGE={case.kernel} talos.platform=metal ")
    assert said.endswith(f" {' '.join(ODD)} {case.reset}")


def test_systemd_boots_other_entry_resets(tmp_path: Path) -> None:
    image = make_image("metal", tmp_path, "--bootloader=sd-boot")
    (esp, *_) = partitions(image)[1]
    conf = ("-i", f"{image}@@{esp.start}", "-", "::/loader/loader.conf")
    tool("mcopy", "-o", *conf, stdin=b"timeout menu-force\n")
    person = Chooser(*UKI_MENU, SD_BOOT_NEXT)
    console = boot(Drive(image), person=person, until="Command line: .*\n")
    assert command_line(console).endswith(f" {DISK_RESET}")


def test_a_bios_without_menu_and_without_boot_code_does_not_go_on(tmp_path: Path) -> None:
    image = make_image("metal", tmp_path, "--bootloader=grub")
    (start,) = (part.start for part in partitions(image)[1] if part.label == "BOOT")
    with image.open("r+b") as file:
        file.seek(start)
        file.write(bytes(4096))
    with pytest.raises(BootError, match=r"does not go on; (.*\n)*.*Minimal BASH"):
        boot(Drive(image), by=Firmware.BIOS)
    with image.open("r+b") as file:
        file.write(bytes(512))
    with pytest.raises(BootError, match="No bootable device"):
        boot(Drive(image), by=Firmware.BIOS)
