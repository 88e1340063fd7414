"""Identifies the contents of a block device from its first bytes: file systems, and blank devices.

The bytes are untrusted: the worst that they can cause is a wrong label or an unknown file system.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imager.content.reading import read_start
from imager.formats.ext4.groups import is_ext4, read_ext4_label
from imager.formats.fat.geometry import is_fat
from imager.formats.fat.read import read_fat_label
from imager.formats.iso9660.read import is_iso9660, read_iso9660_label
from imager.support.blockdevices import BlockDevice
from imager.support.errors import ImagerError, InputError
from imager.support.units import MIB

_HEAD = 64 << 10


@dataclass(frozen=True, slots=True)
class ProbedVolume:
    """A file system on `device`: `iso9660`, `vfat` or `ext4`, the kernel's names."""

    device: BlockDevice
    filesystem: str
    label: str


def probe(device: BlockDevice) -> ProbedVolume | None:
    """Return the volume on `device`; None if it is unknown, absent, damaged or unreadable."""
    try:
        head = _read(device.path, 0, min(_HEAD, device.size))
        if is_iso9660(head):
            return ProbedVolume(device, "iso9660", read_iso9660_label(device.path))
        # mkfs.fat may leave an old ext4 superblock behind, but mkfs.ext4 clears an old boot sector.
        if is_fat(head):
            return ProbedVolume(device, "vfat", read_fat_label(device.path))
        if is_ext4(head):
            return ProbedVolume(device, "ext4", read_ext4_label(head))
    except ImagerError:
        return None
    return None


def is_blank(device: BlockDevice, *, beside: bytes = b"") -> bool:
    """Return whether `device` is blank: its first and last MiB are zeros, except for `beside`.

    These areas contain partition tables and their backups, and the superblocks of all file systems,
    of LUKS, LVM, RAID and ZFS; tools that wipe a disk clear exactly these. Checking for known
    signatures instead would mistake unknown formats for blank. `beside` are bytes that may precede
    the zeros. Raises InputError when the device cannot be read.
    """
    edge = min(MIB, device.size)
    head = _read(device.path, 0, edge).removeprefix(beside)
    return not any(head) and not any(_read(device.path, device.size - edge, edge))


def _read(path: Path, offset: int, length: int) -> bytes:
    data = read_start(path, length, offset=offset)
    if len(data) < length:
        raise InputError(f"{path} ends before byte {offset + length}")
    return data
