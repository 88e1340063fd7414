"""The ISO 9660 metadata, laid out by pycdlib: descriptors, path tables, records, boot catalog.

pycdlib is told names and lengths, and decides every location; file data never reach it. Three
of its habits are mended here: its dates are the host's clock and time zone; it orders file data
by directory; and its next El Torito sections inherit the first one's platform.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pycdlib.dates
import pycdlib.headervd
import pycdlib.pycdlib

SECTOR = 2048
# ECMA-119, section 6.2.1: the system area, sectors 0 to 15, belongs to the boot code.
SYSTEM_AREA = 16 * SECTOR
# The most that one directory record describes: 32 bits of length, in whole sectors.
_RECORD_LIMIT = 0xFFFFFFFF // SECTOR * SECTOR
_FILE_MODE = 0o100444
_DIRECTORY_MODE = 0o040555
_OWNER = "IMAGER"

# The modules that look at the clock; one plan at a time may stand in for it.
_CLOCK_USERS = (pycdlib.dates, pycdlib.headervd, pycdlib.pycdlib)
_CLOCK_LOCK = threading.Lock()


@contextmanager
def pinned_clock(timestamp: int) -> Iterator[None]:
    """Let pycdlib see the instant `timestamp` (seconds since 1970), in UTC, and no other."""
    pinned = SimpleNamespace(
        **{**vars(time), "time": lambda: float(timestamp), "localtime": time.gmtime}
    )
    with _CLOCK_LOCK:
        for module in _CLOCK_USERS:
            module.time = pinned
        try:
            yield
        finally:
            for module in _CLOCK_USERS:
                module.time = time


class _MetadataFile(io.BytesIO):
    """Takes what is written below `end`: pycdlib also ends the image with one zero byte."""

    def __init__(self, end: int) -> None:
        super().__init__()
        self._end = end

    def write(self, data: Any, /) -> int:
        return super().write(data) if self.tell() < self._end else len(data)


class IsoMetadata:
    """An ISO under construction; use it inside `pinned_clock`.

    Identifier paths are absolute (`/EFI/BOOT`), sizes and offsets are bytes. First directories
    (parents before children), then files in the order of their data, aliases and boot entries;
    then `place` and `record`.
    """

    def __init__(self, volume_id: str) -> None:
        self._iso = pycdlib.pycdlib.PyCdlib()
        # Level 4 is the one that neither limits depth (others would move the eighth level to
        # RR_MOVED) nor letters. Rock Ridge 1.10 is what mkisofs and xorriso write.
        self._iso.new(
            interchange_level=4,
            sys_ident=_OWNER,
            vol_ident=volume_id,
            vol_set_ident=volume_id,
            pub_ident_str=_OWNER,
            preparer_ident_str=_OWNER,
            app_ident_str=_OWNER,
            rock_ridge="1.10",
        )
        self._no_data = io.BytesIO()

    def add_directory(self, identifier: str, name: str) -> None:
        """Add a directory called `name`."""
        self._iso.add_directory(identifier, rr_name=name, file_mode=_DIRECTORY_MODE)

    def add_file(self, identifier: str, name: str, length: int) -> None:
        """Add a file called `name`."""
        self._iso.add_fp(self._no_data, length, identifier, rr_name=name, file_mode=_FILE_MODE)

    def add_alias(self, identifier: str, name: str, target: int, span: tuple[int, int]) -> None:
        """Add a name for `span` (offset, length) of the file that was added as number `target`."""
        offset, length = span
        inode = self._iso.inodes[target]
        for start in range(0, length or 1, _RECORD_LIMIT):
            added = self._iso._add_hard_link_to_inode(
                inode,
                min(length - start, _RECORD_LIMIT),
                _FILE_MODE,
                False,  # noqa: FBT003
                None,
                data_extent_offset_blocks=(offset + start) // SECTOR,
                iso_new_path=identifier,
                rr_name=name,
            )
            self._iso._finish_add(0, added)

    def add_boot_entry(
        self, identifier: str, *, catalog: tuple[str, str], platform: int, load_size: int
    ) -> None:
        """Make a file a no-emulation boot entry; `catalog` (identifier, name) is used once."""
        self._iso.add_eltorito(
            identifier,
            catalog[0],
            rr_bootcatname=catalog[1],
            boot_load_size=load_size,
            platform_id=platform,
            efi=True,
        )
        sections = self._iso.eltorito_boot_catalog.sections
        if sections:
            sections[-1].platform_id = platform

    def place(self) -> tuple[list[int], int]:
        """Return the offset of each file, in the order they were added, and the image's size."""
        iso = self._iso
        iso.force_consistency()
        sizes = [inode.get_data_length() for inode in iso.inodes]
        extent = min(
            (i.extent_location() for i, size in zip(iso.inodes, sizes, strict=True) if size),
            default=iso.pvd.space_size,
        )
        offsets = []
        for inode, size in zip(iso.inodes, sizes, strict=True):
            offsets.append(extent * SECTOR)
            if size:
                extent = iso._set_inode(inode, extent, 0)
        return offsets, iso.pvd.space_size * SECTOR

    def record(self, end: int) -> bytes:
        """Return the bytes from the end of the system area to `end`; nothing can follow."""
        self._iso.inodes = []
        file = _MetadataFile(end)
        self._iso.write_fp(file)
        self._iso.close()
        return file.getvalue()[SYSTEM_AREA:]
