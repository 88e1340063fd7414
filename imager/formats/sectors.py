"""The sectors that disk image formats count in, whatever the sector size of the disk itself."""

from __future__ import annotations

from imager.content.extents import Content
from imager.support.errors import InputError
from imager.support.units import align_up

SECTOR = 512


def sector_count(disk: Content, name: str) -> int:
    """Return the size of `disk` in sectors of 512 bytes, for the format `name`.

    Raises InputError for an empty disk, and for a size that is not a whole number of sectors.
    """
    if disk.size % SECTOR or not disk.size:
        raise InputError(
            f"{name}: a disk of {disk.size} bytes is not a whole number of 512-byte sectors",
            hint=f"use a size of {max(align_up(disk.size, SECTOR), SECTOR)} bytes",
        )
    return disk.size // SECTOR
