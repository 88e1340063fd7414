"""Find the disk in a tar: the VMDK of an OVA, or the raw disk of a cloud's archive.

OVA: DMTF DSP0243, 5.4. Google Cloud's archives have one file disk.raw, whose holes are left out
as in GNU tar.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import IO, cast

from imager.content.extents import Content, Extent
from imager.content.random_access import ContentReader
from imager.formats.errors import DamagedVolumeError
from imager.support.errors import ImagerError

_MOST_MEMBERS = 1000
_FIRST_MEMBERS = 3
_LARGEST_READ = 1 << 20
_ERRORS = (tarfile.TarError, RecursionError, ValueError, OverflowError, KeyError)
_USTAR = slice(257, 262)
_DISKS = (".vmdk", ".raw", ".img", ".qcow2", ".vhd")


@dataclass(frozen=True, slots=True)
class TarDisk:
    """A disk in a tar; `others` are the names of further disks. `is_ova` if an OVF describes it."""

    name: str
    content: Content
    others: tuple[str, ...]
    is_ova: bool


def is_tar(head: bytes) -> bool:
    """Return whether a file that starts with `head` is a tar of POSIX or GNU."""
    return head[_USTAR] == b"ustar"


def begins_with_disk(archive: Content) -> bool:
    """Return whether a disk is among the first members of a tar, which may be a long stream."""
    with ContentReader(archive) as reader:
        try:
            return any(_is_disk(each) for each in islice(_members(reader), _FIRST_MEMBERS))
        except (*_ERRORS, ImagerError):
            return False


def find_tar_disk(archive: Content, *, name: str) -> TarDisk | None:
    """Return the first disk among the members of a tar; None if there is none.

    `name` is for messages. Raises DamagedVolumeError.
    """
    with ContentReader(archive) as reader:
        try:
            members = list(_members(reader))
        except _ERRORS as error:
            raise DamagedVolumeError(f"{name}: the tar is damaged: {error}") from error
        disks = [each for each in members if _is_disk(each)]
        if not disks:
            return None
        is_ova = any(each.name.lower().endswith(".ovf") for each in members)
        others = tuple(each.name for each in disks[1:])
        return TarDisk(disks[0].name, _content(archive, disks[0], name), others, is_ova)


def _members(reader: ContentReader) -> Iterator[tarfile.TarInfo]:
    tar = tarfile.TarFile(fileobj=cast("IO[bytes]", _File(reader)))
    for _ in range(_MOST_MEMBERS):
        member = tar.next()
        if member is None:
            return
        if member.isreg():
            yield member


def _is_disk(member: tarfile.TarInfo) -> bool:
    return member.name.lower().endswith(_DISKS)


def _content(archive: Content, member: tarfile.TarInfo, name: str) -> Content:
    if member.size < 0:
        raise DamagedVolumeError(f"{name}: {member.name!a} has an invalid size")
    # The type stubs take the list of (offset, size) for a number.
    sparse = cast("list[tuple[int, int]] | None", member.sparse)
    regions = [(0, member.size)] if sparse is None else sparse
    extents: list[Extent] = []
    place = member.offset_data
    for offset, size in regions:
        if offset < (extents[-1].end if extents else 0) or size < 0 or offset + size > member.size:
            raise DamagedVolumeError(f"{name}: {member.name!a} has invalid holes")
        if place + size > archive.size:
            raise DamagedVolumeError(f"{name}: {member.name!a} is cut off")
        extents += (each.shifted(offset) for each in archive.slice(place, size).extents)
        place += size
    return Content(member.size, tuple(extents))


class _File:
    """The file interface that tarfile needs, with a limit on reads."""

    def __init__(self, reader: ContentReader) -> None:
        self._reader = reader
        self._position = 0

    def read(self, size: int, /) -> bytes:
        if not 0 <= size <= _LARGEST_READ:
            raise ValueError("a header is too large")
        data = self._reader.read(self._position, size)
        self._position += len(data)
        return data

    def seek(self, offset: int, /) -> int:
        if offset < 0:
            raise ValueError("a member has an invalid size")
        self._position = offset
        return offset

    def tell(self) -> int:
        return self._position
