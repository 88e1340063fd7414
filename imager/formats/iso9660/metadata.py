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
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pycdlib.dates
import pycdlib.headervd
import pycdlib.pycdlib

from imager.content.extents import Content, Data, Extent
from imager.support.units import CD_SECTOR

# ECMA-119, section 6.2.1: the system area, sectors 0 to 15, belongs to the boot code.
SYSTEM_AREA = 16 * CD_SECTOR
# The most that one directory record describes: 32 bits of length, in whole sectors.
RECORD_LIMIT = 0xFFFFFFFF // CD_SECTOR * CD_SECTOR
_FILE_MODE = 0o100444
_DIRECTORY_MODE = 0o040555
OWNER = "IMAGER"

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
        # Growing as it is written, it would take up to twice its size.
        super().__init__(bytes(end))
        self._end = end

    def write(self, data: Any, /) -> int:
        return super().write(data) if self.tell() < self._end else len(data)


class _Reserved:
    """A volume descriptor whose bytes are set once all is placed; pycdlib gives it its sector."""

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
    """Where things are, in bytes: the files, in the order they were added, and the volume's end.

    `reserved` is where the bytes start that were reserved behind the metadata.
    """

    files: list[int]
    reserved: int
    size: int


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
            sys_ident=OWNER,
            vol_ident=volume_id,
            vol_set_ident=volume_id,
            pub_ident_str=OWNER,
            preparer_ident_str=OWNER,
            app_ident_str=OWNER,
            rock_ridge="1.10",
        )
        # It takes the place of level 4's enhanced descriptor: Talos's volume probing takes the
        # first supplementary one for Joliet's, and would read the volume id in it as UCS-2.
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
        """Give all records the same times, which take a tenth of the memory else."""
        record.date = self._iso.pvd.root_directory_record().date
        entries = record.rock_ridge.dr_entries
        if entries.tf_record is not None:
            self._times = self._times or entries.tf_record
            entries.tf_record = self._times

    def add_alias(self, identifier: str, name: str, target: int, span: tuple[int, int]) -> None:
        """Add a name for `span` (offset, length) of the file that was added as number `target`."""
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
        """Decide where all is, leaving room for `reserved` bytes between metadata and files."""
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
        """Return `end` bytes: the metadata behind an empty system area; nothing can follow.

        `supplementary` is the volume descriptor that stands between boot record and terminator.
        """
        self._supplementary.data = supplementary
        self._iso.inodes = []
        file = _MetadataFile(end)
        self._iso.write_fp(file)
        self._iso.close()
        data = Data(file.getvalue(), SYSTEM_AREA)
        return Content(end, (Extent(SYSTEM_AREA, end - SYSTEM_AREA, data),))
