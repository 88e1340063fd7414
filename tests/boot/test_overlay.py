"""Disks for boards in QEMU: the machine itself says what the installer of an overlay added.

The witness's initramfs has one more program, which the kernel starts instead of the witness.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from imager.content.extents import Content
from imager.content.tree import File, Tree
from imager.formats.cpio import plan_cpio
from tests.boot.outputs import kernel_arguments, make_image
from tests.lib.machines.booting import boot
from tests.lib.machines.hardware import Drive, Firmware
from tests.lib.tools.cli import real_assets
from tests.lib.tools.support import write_content
from tests.lib.volumes.board_images import FIRMWARE, FIRMWARE_OFFSET, overlay_image

pytestmark = pytest.mark.boot

_SECTOR = 512
_SECTORS = -(-len(FIRMWARE) // _SECTOR)
_PROGRAM = f"""#!/bin/busybox sh
PATH=/bin
export PATH
/bin/busybox mkdir -p /proc /sys /dev /esp
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox --install -s /bin
dmesg -n 3
while read -r module; do insmod "/modules/$module" 2>/dev/null; done </modules/load
mount -t vfat -o ro /dev/vda1 /esp
echo "config: $(cat /esp/config.txt)"
echo "tree: $(cat /esp/dtb/board.dtb)"
echo "start: $(cat /sys/class/block/vda1/start)"
echo "bytes: $(dd if=/dev/vda bs={_SECTOR} skip={FIRMWARE_OFFSET // _SECTOR} count={_SECTORS} \
    2>/dev/null | sha256sum | cut -d' ' -f1)"
echo "line: $(cat /proc/cmdline)"
poweroff -f
""".encode()


def assets_with_program(folder: Path, arch: str) -> Path:
    """Return boot assets whose initramfs has the program /board, too."""
    place = folder / arch
    place.mkdir(parents=True)
    for path in (real_assets(arch) / arch).iterdir():
        if path.name != "initramfs.xz":
            (place / path.name).symlink_to(path)
    more = Tree.of([File("board", Content.of_bytes(_PROGRAM), mode=0o755)])
    added = folder / "added"
    write_content(plan_cpio(more, timestamp=0).content, added)
    data = (real_assets(arch) / arch / "initramfs.xz").read_bytes()
    padding = bytes(-len(data) % 4)
    (place / "initramfs.xz").write_bytes(data + padding + added.read_bytes())
    return folder


@pytest.mark.parametrize(
    ("bootloader", "firmware", "arch"),
    [
        ("grub", Firmware.BIOS, "amd64"),
        ("dual-boot", Firmware.UEFI, "amd64"),
        ("sd-boot", Firmware.UEFI, "arm64"),
    ],
    ids=lambda value: value.value if isinstance(value, Firmware) else value,
)
def test_a_machine_has_what_the_overlay_added(
    bootloader: str, firmware: Firmware, arch: str, tmp_path: Path
) -> None:
    # The kernel's argument is that of the emulated machine: the overlay's console is no device.
    overlay = overlay_image(tmp_path / "overlay")
    board = ("--overlay-image", f"oci:{overlay}", "--overlay-name", "board")
    options = (*board, "--overlay-option", "model=b2", "--bootloader", bootloader)
    assets = assets_with_program(tmp_path / "assets", arch)
    program = kernel_arguments("rdinit=/board")
    image = make_image("metal", tmp_path, *options, *program, assets=assets, arch=arch)
    text = boot(Drive(image), by=firmware, arch=arch)
    told = dict(re.findall(r"^([a-z]+): (.*?)\s*$", text, re.MULTILINE))
    assert " board.model=b2 " in told.pop("line", ""), text
    padded = FIRMWARE.ljust(_SECTORS * _SECTOR, b"\0")
    assert told == {
        "config": "model=b2",
        "tree": "device tree",
        "start": "20480",
        "bytes": hashlib.sha256(padded).hexdigest(),
    }, text
