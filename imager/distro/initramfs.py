"""The initramfs of each flavor: busybox, kernel modules, and what runs then.

The witness finds the image cache on whatever medium carries it, checks every blob and says what
it found on the console: see `witness/init`. The node goes on in a root file system of its own:
see `node/init`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files

import zstandard

from imager.distro import cpio
from imager.distro.kmodules import KernelModule

# Kernels decompress zstd about three times as fast as xz; the higher levels gain little.
_LEVEL = 19
# It is made at each change of the code.
_NODE_LEVEL = 12
_FOLDERS = ("bin", "dev", "modules", "proc", "run", "sys", "system", "tmp")
_NODE_FOLDERS = ("lower", "root", "upper")


def witness_modules() -> list[str]:
    """Return the names of the modules that the witness wants, in the order to load them."""
    return _module_names("witness/modules")


def node_modules() -> list[str]:
    """Return the names of the modules that the node wants: the witness's and more."""
    return [*witness_modules(), *_module_names("node/modules")]


def _module_names(path: str) -> list[str]:
    lines = (files(__package__) / path).read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def witness_initramfs(busybox: bytes, modules: Sequence[KernelModule], *, epoch: int) -> bytes:
    """Return a zstd-compressed initramfs that loads `modules` in order and runs the witness.

    `busybox` is a static executable; `epoch` is the time of every file, in seconds since 1970.
    """
    scripts = {name: f"witness/{name}" for name in ("init", "check", "volume")}
    return _compressed(_entries(busybox, modules, scripts), level=_LEVEL, epoch=epoch)


def node_initramfs(
    busybox: bytes, modules: Sequence[KernelModule], roots: Sequence[bytes], *, epoch: int
) -> bytes:
    """Return an initramfs that loads `modules` and starts the node.

    Its root file system are the squashfs images `roots`, each laid over those before it. They
    stand in an archive of their own, which is not compressed a second time.
    """
    names = [f"root{number}.squashfs" for number, _ in enumerate(roots)]
    images = map(cpio.file, names, roots)
    scripts = _entries(busybox, modules, {"init": "node/init"})
    return cpio.cpio_archive(images, epoch=epoch) + _compressed(
        [*map(cpio.folder, _NODE_FOLDERS), *scripts], level=_NODE_LEVEL, epoch=epoch
    )


def _compressed(entries: Iterable[cpio.CpioEntry], *, level: int, epoch: int) -> bytes:
    archive = cpio.cpio_archive(entries, epoch=epoch)
    return zstandard.ZstdCompressor(level=level, write_checksum=True).compress(archive)


def _entries(
    busybox: bytes, modules: Iterable[KernelModule], scripts: Mapping[str, str]
) -> Iterator[cpio.CpioEntry]:
    yield from map(cpio.folder, _FOLDERS)
    # The kernel opens it before anything is mounted.
    yield cpio.character_device("dev/console", 5, 1)
    yield cpio.file("bin/busybox", busybox, mode=0o755)
    yield cpio.symlink("bin/sh", "busybox")
    for name, path in scripts.items():
        yield cpio.file(name, (files(__package__) / path).read_bytes(), mode=0o755)
    order: list[str] = []
    for module in modules:
        order.append(f"{module.name}.ko\n")
        yield cpio.file(f"modules/{module.name}.ko", module.read())
    yield cpio.file("modules/load", "".join(order).encode())
