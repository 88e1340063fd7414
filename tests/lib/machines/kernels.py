"""Kernels that QEMU starts directly, where firmware and bootloader are not what is tested."""

from __future__ import annotations

import functools
import lzma
import os
from pathlib import Path

from tests.lib.machines.hardware import Kernel

_XZ = b"\xfd7zXZ\0"


def direct(assets: Path, arguments: str) -> Kernel:
    """Return the kernel and initramfs of the folder `assets`, of a PC, to start directly."""
    return Kernel(_unpacked(assets / "vmlinuz"), assets / "initramfs.xz", arguments)


@functools.cache
def _unpacked(kernel: Path) -> Path:
    """Return the kernel that is in a compressed one, which takes long to unpack itself emulated.

    The fields are those of the x86 boot protocol:
    https://docs.kernel.org/arch/x86/boot.html
    """
    data = kernel.read_bytes()
    assert data[0x202:0x206] == b"HdrS", kernel
    offset, size = (int.from_bytes(data[at : at + 4], "little") for at in (0x248, 0x24C))
    start = ((data[0x1F1] or 4) + 1) * 512 + offset
    payload = data[start : start + size]
    if not payload.startswith(_XZ):
        return kernel
    # Behind the compressed data is their size.
    unpacked = lzma.LZMADecompressor().decompress(payload)
    # In memory, gone with this process however it ends.
    descriptor = os.memfd_create(kernel.name)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(unpacked)
    return Path(f"/proc/{os.getpid()}/fd/{descriptor}")
