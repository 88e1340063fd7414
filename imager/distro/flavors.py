"""The flavors of the embedded default: the software in the initramfs, and how to build it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imager.distro.initramfs import (
    node_initramfs,
    node_modules,
    witness_initramfs,
    witness_modules,
)
from imager.distro.kmodules import KernelModule
from imager.distro.noderoot import base_root, own_root, read_file_list
from imager.distro.packages import FetchContext
from imager.distro.wheels import get_wheels, locked_wheels
from imager.formats.squashfs import Compression, cached_squashfs_image
from imager.support.arch import Arch
from imager.support.errors import InputError

# Third-party files are packed once, our code after each change.
_BASE = Compression(level=19, block_size=1 << 20)
_OWN = Compression(level=15, block_size=128 << 10)


@dataclass(frozen=True, slots=True)
class InitramfsInputs:
    """The parts of an initramfs for `arch`.

    `modules` are loaded in this order; `debs` are the packages of the flavor by name; `epoch` is
    the time of every file, in seconds since 1970.
    """

    arch: Arch
    busybox: bytes
    modules: Sequence[KernelModule]
    debs: Mapping[str, Path]
    epoch: int


@dataclass(frozen=True, slots=True)
class Flavor:
    """A kind of initramfs; its sets are in the subfolder `folder`.

    `packages` are Debian packages in addition to those of every set, `modules` the names of kernel
    modules in load order.
    """

    name: str
    folder: str
    packages: Callable[[], Sequence[str]]
    modules: Callable[[], Sequence[str]]
    build: Callable[[InitramfsInputs, FetchContext], bytes]


def _build_witness(parts: InitramfsInputs, _: FetchContext) -> bytes:
    return witness_initramfs(parts.busybox, parts.modules, epoch=parts.epoch)


def _build_node(parts: InitramfsInputs, context: FetchContext) -> bytes:
    wheels = get_wheels(locked_wheels(parts.arch), parts.arch, context)
    with context.waiting("Building the node's root file system"):
        base = cached_squashfs_image(
            base_root(parts.debs, wheels, parts.busybox),
            timestamp=parts.epoch,
            compression=_BASE,
            cache=context.cache,
        )
        own = cached_squashfs_image(
            own_root(), timestamp=parts.epoch, compression=_OWN, cache=context.scratch
        )
    return node_initramfs(parts.busybox, parts.modules, (base, own), epoch=parts.epoch)


WITNESS = Flavor("witness", ".", lambda: (), witness_modules, _build_witness)
NODE = Flavor("node", "node", lambda: tuple(read_file_list().kept), node_modules, _build_node)
FLAVORS = (WITNESS, NODE)


def find_flavor(name: str) -> Flavor:
    """Return the flavor called `name`; raises InputError for another name."""
    for flavor in FLAVORS:
        if flavor.name == name:
            return flavor
    known = ", ".join(flavor.name for flavor in FLAVORS)
    raise InputError(f"unknown flavor of boot assets: {name!r}", hint=f"the flavors are {known}")
