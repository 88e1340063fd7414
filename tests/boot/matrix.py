"""Which outputs boot from what: all combinations that there are, and a choice of them.

`python -m tests.boot.matrix --save docs/boot-matrix.md` boots all of them and keeps the table; the
tests boot the choice. In it every two properties that can meet do so, of those that make an image
another one or start it in another way: the output and whether it is a CD, bootloader, firmware,
size of sectors, architecture. Which device it is is left to drivers of firmware and kernel, so
that each occurs once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations, product
from pathlib import Path

from tests.boot.outputs import counts, make_image
from tests.lib.caches.caches import CacheFixture, make_flat, make_layout
from tests.lib.machines.booting import boot
from tests.lib.machines.hardware import Device, Drive, Firmware
from tests.lib.machines.qemu import BootError
from tests.lib.machines.witness import DISK_ROOT, MEDIUM_ROOT, witness_line

HEADER = ("output", "bootloader", "seen as", "firmware", "sectors", "machine")

# What the machine calls a device, and its partition with this number.
_NAMES = {
    Device.CD: ("/dev/sr0", ""),
    Device.SCSI_CD: ("/dev/sr0", ""),
    Device.IDE_CD: ("/dev/sr0", ""),
    Device.VIRTIO: ("/dev/vda", ""),
    Device.VIRTIO_4K: ("/dev/vda", ""),
    Device.USB: ("/dev/sda", ""),
    Device.USB_4K: ("/dev/sda", ""),
    Device.SATA: ("/dev/sda", ""),
    Device.NVME: ("/dev/nvme0n1", "p"),
    Device.NVME_4K: ("/dev/nvme0n1", "p"),
}
_CDS = tuple(device for device in Device if device.is_cd)
_DISKS = (Device.VIRTIO, Device.USB, Device.SATA, Device.NVME)
_DISKS_4K = (Device.VIRTIO_4K, Device.USB_4K, Device.NVME_4K)
# A machine of QEMU's kind `virt` has none of these: its CDs are on SCSI.
_PC_ALONE = (Device.CD, Device.IDE_CD, Device.SATA)
_PROFILES = {"iso": "iso", "disk": "metal", "usb": "iso"}
_FILES = {"iso": "metal-{}.iso", "disk": "metal-{}.raw", "usb": "metal-{}-usb.img"}
# What the cache of an output comes from hangs on its bootloader: so each output has each of them.
_CODECS = {"dual-boot": None, "sd-boot": "gzip"}
# A disk is larger than an image, so the backup of the partition table is not at its end.
_MORE = 1 << 30


@dataclass(frozen=True, slots=True)
class Combination:
    """An output with a bootloader, and the machine that boots it."""

    output: str
    bootloader: str
    device: Device
    firmware: Firmware
    sector_size: int
    arch: str

    @property
    def row(self) -> tuple[str, ...]:
        """The combination as the table has it, but for the console line."""
        device = "SATA CD" if self.device is Device.CD else self.device.name
        return (
            self.output,
            self.bootloader,
            device.removesuffix("_4K").replace("_", " "),
            self.firmware.name,
            str(self.sector_size),
            self.arch,
        )

    def exists(self) -> bool:
        """Whether there is such an output and such a machine."""
        four = self.device in _DISKS_4K
        return (
            four == (self.sector_size == 4096)
            and (self.output == "disk" or not four)
            and (self.output == "iso" or self.device not in _CDS)
            and (self.bootloader == "sd-boot" or not four)
            and (self.arch == "amd64" or self._arm64_exists())
            and (self.firmware is Firmware.UEFI or self._bios_exists())
        )

    def _arm64_exists(self) -> bool:
        return self.device not in _PC_ALONE and self.bootloader != "dual-boot"

    def _bios_exists(self) -> bool:
        return (
            self.arch == "amd64"
            and self.output != "usb"
            and self.bootloader != "sd-boot"
            and self.sector_size == 512
        )

    def ready(self, cache: CacheFixture) -> str:
        """Return the line that the witness must say, counted in the cache itself."""
        root = DISK_ROOT if self.output == "disk" else MEDIUM_ROOT
        return counts(cache).ready(root, self._device())

    def _device(self) -> str:
        name, letter = _NAMES[self.device]
        number = {"iso": 0, "usb": 1}.get(self.output, 3 if self.bootloader == "sd-boot" else 5)
        return f"{name}{letter}{number}" if number else name


def all_combinations() -> list[Combination]:
    """Return every combination that exists."""
    axes = (
        ("iso", "disk", "usb"),
        ("grub", "dual-boot", "sd-boot"),
        (*_CDS, *_DISKS, *_DISKS_4K),
        (Firmware.UEFI, Firmware.BIOS),
        (512, 4096),
        ("amd64", "arm64"),
    )
    made = (Combination(*values) for values in product(*axes))
    return [combination for combination in made if combination.exists()]


def choice(candidates: Sequence[Combination]) -> list[Combination]:
    """Return some of `candidates` in which every trait occurs that occurs in any."""
    chosen: list[Combination] = []
    missing = set().union(*map(_traits, candidates))
    while missing:
        best = max(candidates, key=lambda each: len(_traits(each) & missing))
        chosen.append(best)
        missing -= _traits(best)
    return chosen


def _traits(each: Combination) -> set[object]:
    """Return what a boot of the combination shows: its device, and pairs of properties."""
    seen_as = (each.output, each.device.is_cd)
    properties = (seen_as, each.bootloader, each.firmware, each.sector_size, each.arch)
    return {each.row[2], *combinations(enumerate(properties), 2)}


def make_cache(folder: Path) -> CacheFixture:
    """Make the small cache for both architectures that all outputs carry."""
    return make_flat(folder, images=2, blob_size=500_000, arches=("amd64", "arm64"))


def make_output(combination: Combination, cache: CacheFixture, folder: Path) -> Path:
    """Make the output of `combination` in `folder`, unless it is there."""
    arch = combination.arch
    name = f"{combination.output}-{combination.bootloader}-{combination.sector_size}-{arch}"
    place = folder / name
    image = place / _FILES[combination.output].format(arch)
    if image.exists():
        return image
    place.mkdir()
    four = combination.sector_size == 4096
    profile = "metal-4k" if four else _PROFILES[combination.output]
    kind = ("--output-kind", "usb") if combination.output == "usb" else ()
    source = ("--image-cache", _source(combination, cache, place))
    bootloader = ("--bootloader", combination.bootloader)
    make_image(profile, place, *kind, *bootloader, *source, arch=arch)
    if combination.output == "disk":
        with image.open("r+b") as file:
            file.truncate(image.stat().st_size + _MORE)
    return image


def _source(combination: Combination, cache: CacheFixture, folder: Path) -> Path:
    """Return what the cache is taken from: its tree, or a layout of it."""
    if combination.bootloader not in _CODECS:
        return cache.folder
    codec = _CODECS[combination.bootloader]
    return make_layout(cache, folder / "layout", platforms=("amd64", "arm64"), codec=codec)


def booted(combination: Combination, cache: CacheFixture, folder: Path) -> str:
    """Return what the machine says until it is off."""
    drive = Drive(make_output(combination, cache, folder), combination.device)
    return boot(drive, by=combination.firmware, arch=combination.arch)


def table(rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table of rows that end with the console line."""
    lines = [(*HEADER, "console"), ("---",) * (len(HEADER) + 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _results(chosen: Sequence[Combination]) -> Iterator[tuple[Combination, str, bool]]:
    with tempfile.TemporaryDirectory(prefix="imager-matrix-") as name:
        folder = Path(name)
        cache = make_cache(folder / "cache")

        def run(combination: Combination) -> tuple[Combination, str, bool]:
            try:
                line = witness_line(booted(combination, cache, folder))
            except BootError as error:
                return combination, str(error).splitlines()[0], False
            return combination, line, line == combination.ready(cache)

        for combination in chosen:
            make_output(combination, cache, folder)
        with ThreadPoolExecutor(2) as pool:
            yield from pool.map(run, chosen)


def main() -> int:
    """Boot all combinations, or the choice; return 0 when every machine had the whole cache."""
    parser = argparse.ArgumentParser(prog="tests.boot.matrix")
    parser.add_argument("--choice", action="store_true", help="boot the choice alone")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the table there")
    arguments = parser.parse_args()
    chosen = all_combinations()
    if arguments.choice:
        chosen = choice(chosen)
    rows, failed = [], 0
    for combination, line, ready in _results(chosen):
        rows.append((*combination.row, f"`{line}`"))
        failed += not ready
        sys.stdout.write(f"{'ok  ' if ready else 'FAIL'} {' '.join(combination.row)}: {line}\n")
        sys.stdout.flush()
    if arguments.save:
        arguments.save.write_text(_document(rows, failed))
    sys.stdout.write(f"{len(rows) - failed} of {len(rows)} booted and had the whole cache\n")
    return min(failed, 1)


def _document(rows: Sequence[Sequence[str]], failed: int) -> str:
    return (
        "# Boot matrix\n\n"
        "Every output with every bootloader, booted in QEMU on every device and firmware for\n"
        "which the combination exists (SeaBIOS, OVMF, AAVMF; emulated). The last column is what\n"
        "the machine prints about its image cache, after it has checked every blob's SHA-256.\n\n"
        "`make boot-matrix` makes this table. The tests boot a selection: every pair of output\n"
        "(CD or not), bootloader, firmware, sector size and machine occurs where it can, and so\n"
        "does every device.\n\n"
        f"{datetime.now(UTC):%Y-%m-%d}: {len(rows) - failed} of {len(rows)} booted and found the"
        " complete cache.\n\n"
        f"{table(rows)}"
    )


if __name__ == "__main__":
    sys.exit(main())
