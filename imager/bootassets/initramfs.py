"""The initramfs of the embedded default: busybox, kernel modules and the witness script.

The witness finds the image cache on whatever medium carries it, checks every blob and says what
it found on the console: see `witness/init`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files

import zstandard

from imager.bootassets import cpio
from imager.bootassets.kmodules import KernelModule

# Kernels decompress zstd about three times as fast as xz; the higher levels gain little.
_LEVEL = 19
_FOLDERS = ("bin", "dev", "modules", "proc", "run", "sys", "system", "tmp")


def wanted_modules() -> list[str]:
    """Return the names of the modules that the witness wants, in the order to load them."""
    lines = (files(__package__) / "witness/modules").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def build_initramfs(busybox: bytes, modules: Sequence[KernelModule], *, epoch: int) -> bytes:
    """Return a zstd-compressed initramfs that loads `modules` in order and runs the witness.

    `busybox` is a static executable; `epoch` is the time of every file, in seconds since 1970.
    """
    archive = cpio.cpio_archive(_entries(busybox, modules), epoch=epoch)
    return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(archive)


def _entries(busybox: bytes, modules: Iterable[KernelModule]) -> Iterator[cpio.CpioEntry]:
    yield from map(cpio.folder, _FOLDERS)
    # The kernel opens it before anything is mounted.
    yield cpio.character_device("dev/console", 5, 1)
    yield cpio.file("bin/busybox", busybox, mode=0o755)
    yield cpio.symlink("bin/sh", "busybox")
    for script in ("init", "check", "volume"):
        yield cpio.file(script, (files(__package__) / "witness" / script).read_bytes(), mode=0o755)
    order: list[str] = []
    for module in modules:
        order.append(f"{module.name}.ko\n")
        yield cpio.file(f"modules/{module.name}.ko", module.read())
    yield cpio.file("modules/load", "".join(order).encode())
