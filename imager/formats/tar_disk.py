"""Find the disk in a tar: the VMDK of an OVA, or the raw disk of a cloud's archive.

OVA: DMTF DSP0243, 5.4. Google Cloud's archives have one file disk.raw, whose holes are left out
as in GNU tar.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import cast

from imager.content.extents import Content
from imager.content.tar import content_headers
from imager.content.tar_source import PARSER_ERRORS
from imager.formats.errors import DamagedVolumeError
from imager.support.errors import ImagerError

_MOST_MEMBERS = 1000
_FIRST_MEMBERS = 3
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
    try:
        return any(_is_disk(each) for each in islice(_members(archive), _FIRST_MEMBERS))
    except (*PARSER_ERRORS, ImagerError):
        return False


def find_tar_disk(archive: Content, *, name: str) -> TarDisk | None:
    """Return the first disk among the members of a tar; None if there is none.

    `name` is for messages. Raises DamagedVolumeError.
    """
    members = _all_members(archive, name)
    disks = [each for each in members if _is_disk(each)]
    if not disks:
        return None
    content = _checked_content(archive, disks[0], name)
    is_ova = any(each.name.lower().endswith(".ovf") for each in members)
    return TarDisk(disks[0].name, content, tuple(each.name for each in disks[1:]), is_ova)


def tar_files(archive: Content, *, name: str) -> Iterator[tuple[str, Content]]:
    """Yield the name and content of each file in a tar, the first 1,000 at most.

    `name` is for messages. Raises DamagedVolumeError.
    """
    for member in _all_members(archive, name):
        yield member.name, _checked_content(archive, member, name)


def _all_members(archive: Content, name: str) -> list[tarfile.TarInfo]:
    try:
        return list(_members(archive))
    except PARSER_ERRORS as error:
        raise _damaged(name, error) from error


def _checked_content(archive: Content, member: tarfile.TarInfo, name: str) -> Content:
    try:
        return _content(archive, member)
    except PARSER_ERRORS as error:
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> DamagedVolumeError:
    return DamagedVolumeError(f"{name}: the tar is damaged: {error}")


def _members(archive: Content) -> Iterator[tarfile.TarInfo]:
    return filter(tarfile.TarInfo.isreg, islice(content_headers(archive), _MOST_MEMBERS))


def _is_disk(member: tarfile.TarInfo) -> bool:
    return member.name.lower().endswith(_DISKS)


def _content(archive: Content, member: tarfile.TarInfo) -> Content:
    """Return the bytes of a member; raises ValueError for holes that cannot be."""
    # The type stubs take the list of (offset, size) for a number.
    sparse = cast("list[tuple[int, int]] | None", member.sparse)
    placed: list[tuple[int, Content]] = []
    place = member.offset_data
    for offset, size in [(0, member.size)] if sparse is None else sparse:
        placed.append((offset, archive.slice(place, size)))
        place += size
    return Content.compose(member.size, placed)
