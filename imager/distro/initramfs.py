"""The initramfs of each flavor: busybox, kernel modules, and the scripts to run.

The witness finds the image cache on the boot medium, checks every blob and prints the result on the
console: see `witness/init`. The node switches to its own root file system: see `node/init`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files

import zstandard

from imager.content.extents import Content
from imager.content.reading import read_content
from imager.content.tree import Device, File, Link, Tree
from imager.distro.kmodules import KernelModule
from imager.formats.cpio import plan_cpio

# Kernels decompress zstd about three times as fast as xz; the higher levels gain little.
_LEVEL = 19
# The node's initramfs is rebuilt after each change of the code.
_NODE_LEVEL = 12
_FOLDERS = ("bin", "dev", "modules", "proc", "run", "sys", "system", "tmp")
_NODE_FOLDERS = ("lower", "root", "upper")


def witness_modules() -> list[str]:
    """Return the names of the witness's modules, in load order."""
    return _module_names("witness/modules")


def node_modules() -> list[str]:
    """Return the names of the node's modules: the witness's and more."""
    return [*witness_modules(), *_module_names("node/modules")]


def _module_names(path: str) -> list[str]:
    lines = (files(__package__) / path).read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def witness_initramfs(busybox: bytes, modules: Sequence[KernelModule], *, epoch: int) -> bytes:
    """Return a zstd-compressed initramfs that loads `modules` in order and runs the witness.

    `busybox` is a static executable; `epoch` is the time of every file, in seconds since 1970.
    """
    scripts = {name: f"witness/{name}" for name in ("init", "check", "volume")}
    return _compressed(_tree(busybox, modules, scripts), level=_LEVEL, epoch=epoch)


def node_initramfs(
    busybox: bytes, modules: Sequence[KernelModule], roots: Sequence[bytes], *, epoch: int
) -> bytes:
    """Return an initramfs that loads `modules` and starts the node.

    Its root file system consists of the squashfs images `roots`, each overlaid on those before it.
    They are in a separate archive, which is not compressed again.
    """
    images = Tree.of(
        File(f"root{number}.squashfs", Content.of_bytes(root)) for number, root in enumerate(roots)
    )
    tree = _tree(busybox, modules, {"init": "node/init"}, folders=(*_FOLDERS, *_NODE_FOLDERS))
    return _archive(images, epoch) + _compressed(tree, level=_NODE_LEVEL, epoch=epoch)


def _compressed(tree: Tree, *, level: int, epoch: int) -> bytes:
    archive = _archive(tree, epoch)
    return zstandard.ZstdCompressor(level=level, write_checksum=True).compress(archive)


def _archive(tree: Tree, epoch: int) -> bytes:
    return read_content(plan_cpio(tree, timestamp=epoch).content)


def _tree(
    busybox: bytes,
    modules: Sequence[KernelModule],
    scripts: Mapping[str, str],
    *,
    folders: Sequence[str] = _FOLDERS,
) -> Tree:
    programs = {"bin/busybox": busybox}
    programs |= {name: (files(__package__) / path).read_bytes() for name, path in scripts.items()}
    contents = {f"modules/{module.name}.ko": module.read() for module in modules}
    contents["modules/load"] = "".join(f"{module.name}.ko\n" for module in modules).encode()
    # The kernel opens the console before anything is mounted.
    nodes = (Device("dev/console", 5, 1), Link("bin/sh", "busybox"))
    return Tree.of(
        (
            *(File(path, Content.of_bytes(data), mode=0o755) for path, data in programs.items()),
            *(File(path, Content.of_bytes(data)) for path, data in contents.items()),
        ),
        folders,
        nodes=nodes,
    )
