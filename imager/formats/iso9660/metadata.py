"""Lay out ISO 9660 metadata with pycdlib: descriptors, path tables, records, boot catalog.

pycdlib gets names and lengths, and decides every location; it never sees file data. This module
corrects three of its properties: it uses the host's clock and time zone; it orders file data by
directory; and El Torito sections after the first inherit the first one's platform.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pycdlib.dates
import pycdlib.headervd
import pycdlib.pycdlib

from imager.content.extents import Content, Data, Extent
from imager.support.units import CD_SECTOR

# ECMA-119, section 6.2.1: the system area, sectors 0 to 15, is reserved for boot code.
SYSTEM_AREA = 16 * CD_SECTOR
# The maximum length in one directory record: 32 bits, in whole sectors.
RECORD_LIMIT = 0xFFFFFFFF // CD_SECTOR * CD_SECTOR
_FILE_MODE = 0o100444
_DIRECTORY_MODE = 0o040555
OWNER = "IMAGER"

# The modules that read the clock; only one plan at a time may replace it.
_CLOCK_USERS = (pycdlib.dates, pycdlib.headervd, pycdlib.pycdlib)
_CLOCK_LOCK = threading.Lock()


@contextmanager
def pinned_clock(timestamp: int) -> Iterator[None]:
    """Make pycdlib use the time `timestamp` (seconds since 1970), in UTC, for the block."""
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
    """Ignores writes from `end` on: pycdlib appends one zero byte to the image."""

    def __init__(self, end: int) -> None:
        # Allocate it at once: a buffer that grows could take twice its size.
        super().__init__(bytes(end))
        self._end = end

    def write(self, data: Any, /) -> int:
        return super().write(data) if self.tell() < self._end else len(data)


class _Reserved:
    """A volume descriptor whose bytes are set after layout; pycdlib assigns its sector."""

    def __init__(self) -> None:
        self.data = bytes(CD_SECTOR)
        self._extent = 0

    def set_extent_location(self, extent: int) -> None:
        self._extent = extent

    def extent_location(self) -> int:
        return self._extent

    def record(self) -> bytes:
        return self.data


@dataclass(frozen=True, slots=True)
class Places:
    """Locations in bytes: the files, in the order they were added, and the volume's end.

    `reserved` is the start of the reserved bytes after the metadata.
    """

    files: list[int]
    reserved: int
    size: int


class IsoMetadata:
    """An ISO under construction; use it inside `pinned_clock`.

    Identifier paths are absolute (`/EFI/BOOT`), sizes and offsets are bytes. Add directories first
    (parents before children), then files in data order, aliases and boot entries; then call
    `place` and `record`.
    """

    def __init__(self, volume_id: str) -> None:
        self._iso = pycdlib.pycdlib.PyCdlib()
        # Only level 4 limits neither depth (others would move the eighth level to RR_MOVED) nor
        # letters. mkisofs and xorriso also write Rock Ridge 1.10.
        self._iso.new(
            interchange_level=4,
            sys_ident=OWNER,
            vol_ident=volume_id,
            vol_set_ident=volume_id,
            pub_ident_str=OWNER,
            preparer_ident_str=OWNER,
            app_ident_str=OWNER,
            rock_ridge="1.10",
        )
        # It replaces level 4's enhanced descriptor: Talos's volume probing treats the first
        # supplementary descriptor as Joliet's, and would read the volume id in it as UCS-2.
        self._supplementary = _Reserved()
        self._iso.svds = [self._supplementary]
        self._no_data = io.BytesIO()
        self._times: Any = None

    def add_directory(self, identifier: str, name: str) -> None:
        """Add a directory called `name`."""
        self._iso.add_directory(identifier, rr_name=name, file_mode=_DIRECTORY_MODE)

    def add_file(self, identifier: str, name: str, length: int) -> None:
        """Add a file called `name`."""
        self._iso.add_fp(self._no_data, length, identifier, rr_name=name, file_mode=_FILE_MODE)
        for record, _ in self._iso.inodes[-1].linked_records:
            self._share_times(record)

    def _share_times(self, record: Any) -> None:
        """Share one set of times between all records; separate ones take a tenth of the memory."""
        record.date = self._iso.pvd.root_directory_record().date
        entries = record.rock_ridge.dr_entries
        if entries.tf_record is not None:
            self._times = self._times or entries.tf_record
            entries.tf_record = self._times

    def add_alias(self, identifier: str, name: str, target: int, span: tuple[int, int]) -> None:
        """Add a name for `span` (offset, length) of file number `target`, in order of addition."""
        offset, length = span
        inode = self._iso.inodes[target]
        for start in range(0, length or 1, RECORD_LIMIT):
            added = self._iso._add_hard_link_to_inode(
                inode,
                min(length - start, RECORD_LIMIT),
                _FILE_MODE,
                False,  # noqa: FBT003
                None,
                data_extent_offset_blocks=(offset + start) // CD_SECTOR,
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

    def place(self, reserved: int) -> Places:
        """Decide all locations, with `reserved` bytes between metadata and files."""
        iso = self._iso
        iso.force_consistency()
        sizes = [inode.get_data_length() for inode in iso.inodes]
        end = min(
            (i.extent_location() for i, size in zip(iso.inodes, sizes, strict=True) if size),
            default=iso.pvd.space_size,
        )
        iso.pvd.space_size += reserved // CD_SECTOR
        extent = end + reserved // CD_SECTOR
        files = []
        for inode, size in zip(iso.inodes, sizes, strict=True):
            files.append(extent * CD_SECTOR)
            if size:
                extent = iso._set_inode(inode, extent, 0)
        return Places(files, end * CD_SECTOR, iso.pvd.space_size * CD_SECTOR)

    def record(self, end: int, supplementary: bytes) -> Content:
        """Return `end` bytes: an empty system area and the metadata; call this last.

        `supplementary` is the volume descriptor between boot record and terminator.
        """
        self._supplementary.data = supplementary
        self._iso.inodes = []
        file = _MetadataFile(end)
        self._iso.write_fp(file)
        self._iso.close()
        data = Data(file.getvalue(), SYSTEM_AREA)
        return Content(end, (Extent(SYSTEM_AREA, end - SYSTEM_AREA, data),))
