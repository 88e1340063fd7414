"""Which outputs boot from what: all combinations that there are, and a pairwise choice of them.

`python -m tests.lib.machines.boot_matrix --save docs/boot-matrix.md` boots all of them and keeps
the table; the tests boot the choice, in which every two properties that can meet do so.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from itertools import combinations, product
from pathlib import Path

from tests.lib.caches.caches import CacheFixture, make_flat
from tests.lib.machines.qemu import BootError, Device, Firmware, boot, witness_line
from tests.lib.tools.cli import build, real_assets

DISK_ROOT = "/system/imagecache/disk"
MEDIUM_ROOT = "/system/imagecache/iso/imagecache"
CONSOLES = {"amd64": "ttyS0", "arm64": "ttyAMA0"}
IMAGES = 2
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
_CDS = (Device.CD, Device.SCSI_CD, Device.IDE_CD)
_DISKS = (Device.VIRTIO, Device.USB, Device.SATA, Device.NVME)
_DISKS_4K = (Device.VIRTIO_4K, Device.USB_4K, Device.NVME_4K)
# A machine of QEMU's kind `virt` has none of these: its CDs are on SCSI.
_PC_ALONE = (Device.CD, Device.IDE_CD, Device.SATA)
_PROFILES = {"iso": "iso", "disk": "metal", "usb": "iso"}
_FILES = {"iso": "metal-{}.iso", "disk": "metal-{}.raw", "usb": "metal-{}-usb.img"}


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
        sizes = [path.stat().st_size for path in (cache.folder / "blob").iterdir()]
        root = DISK_ROOT if self.output == "disk" else MEDIUM_ROOT
        return (
            f"imagecache: ready root={root} device={self._device()}"
            f" blobs={len(sizes)} bytes={sum(sizes)} images={IMAGES}"
        )

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


def pairwise(candidates: Sequence[Combination]) -> list[Combination]:
    """Return some of `candidates` in which every pair of values occurs that occurs in any."""
    chosen: list[Combination] = []
    open_pairs = set().union(*map(_pairs, candidates))
    while open_pairs:
        best = max(candidates, key=lambda each: len(_pairs(each) & open_pairs))
        chosen.append(best)
        open_pairs -= _pairs(best)
    return chosen


def _pairs(combination: Combination) -> set[tuple[tuple[int, object], ...]]:
    return set(combinations(enumerate(astuple(combination)), 2))


def make_cache(folder: Path) -> CacheFixture:
    """Make the small cache for both architectures that all outputs carry."""
    return make_flat(folder, images=IMAGES, blob_size=500_000, arches=("amd64", "arm64"))


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
    kernel = (f"console={CONSOLES[arch]}", "imager.poweroff")
    build(
        *(profile, *kind, "--arch", arch, "--assets", real_assets(arch), "--out-format", "raw"),
        *("--bootloader", combination.bootloader, "--image-cache", cache.folder),
        *(word for argument in kernel for word in ("--extra-kernel-arg", argument)),
        *("--output", place),
    )
    return image


def booted(combination: Combination, cache: CacheFixture, folder: Path) -> str:
    """Return the witness's line after booting; raises BootError when there is none."""
    image = make_output(combination, cache, folder)
    console = boot(image, combination.device, firmware=combination.firmware, arch=combination.arch)
    return witness_line(console)


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
                line = booted(combination, cache, folder)
            except BootError as error:
                return combination, str(error).splitlines()[0], False
            return combination, line, line == combination.ready(cache)

        for combination in chosen:
            make_output(combination, cache, folder)
        with ThreadPoolExecutor(2) as pool:
            yield from pool.map(run, chosen)


def main() -> int:
    """Boot all combinations, or the choice; return 0 when every machine had the whole cache."""
    parser = argparse.ArgumentParser(prog="tests.lib.machines.boot_matrix")
    parser.add_argument("--pairwise", action="store_true", help="boot the choice alone")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the table there")
    arguments = parser.parse_args()
    chosen = all_combinations()
    if arguments.pairwise:
        chosen = pairwise(chosen)
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
        "# What boots from what\n\n"
        "Every output with every bootloader, on every device and firmware where the combination\n"
        "exists, booted in QEMU (SeaBIOS, OVMF, AAVMF; emulated). The console line is what the\n"
        "started machine says of its image cache, after checking every blob's SHA-256.\n"
        "`make boot-matrix` makes this table; `make test-boot` boots a choice in which every two\n"
        "properties that can meet do so.\n\n"
        f"{datetime.now(UTC):%Y-%m-%d}: {len(rows) - failed} of {len(rows)} booted and had the"
        " whole cache.\n\n"
        f"{table(rows)}"
    )


if __name__ == "__main__":
    sys.exit(main())
