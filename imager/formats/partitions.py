"""Find the partitions of an image in its GPT or MBR."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imager.content.extents import Content
from imager.content.random_access import ContentReader
from imager.formats.fat.geometry import is_fat
from imager.formats.gpt.entries import ESP
from imager.formats.gpt.read import PROTECTIVE, gpt_sector_size, read_gpt
from imager.formats.gpt.table import Table
from imager.formats.iso9660.read import is_iso9660
from imager.support.errors import InputError

HEAD = 64 << 10
_SECTOR = 512
_FIRST_ENTRY = 446
_ENTRY = struct.Struct("<B3xB3xII")
_EXTENDED = frozenset((0x05, 0x0F, 0x85))
_ESP = 0xEF
_ACTIVE = 0x80
_FIRST_LOGICAL, _MOST_LOGICAL = 5, 64


@dataclass(frozen=True, slots=True)
class FoundPartition:
    """A partition of `size` bytes at byte `offset`; `number` is its table entry (from 1).

    MBR partitions have no label and no `uuid`. `type_id` is the GUID of the type, or the type's
    number such as `0x0c`; `attributes` is the mask of the GPT entry, or 0x80 for an active
    partition of an MBR.
    """

    table: Literal["GPT", "MBR"]
    number: int
    offset: int
    size: int
    label: str
    is_esp: bool
    type_id: str = ""
    uuid: str = ""
    attributes: int = 0


def find_partitions(
    source: Path | Content, head: bytes, *, name: str = ""
) -> tuple[FoundPartition, ...]:
    """Return the partitions of the image `source`; `head` is its first `HEAD` bytes.

    A GPT takes precedence. The GPT of an ISO may be invalid (hybrid images have overlapping
    partitions): then the MBR is used. The boot sector of a FAT volume is not treated as an MBR.
    Raises InputError for an invalid GPT, except in an ISO. MBR partitions may exceed the file.
    """
    sector = gpt_sector_size(head)
    if sector is not None:
        try:
            table = read_gpt(source, sector, name=name)
        except InputError:
            if not is_iso9660(head):
                raise
        else:
            return partitions_of(table)
    return () if is_fat(head) else read_mbr(head)


def partitions_of(table: Table) -> tuple[FoundPartition, ...]:
    """Return the partitions of a GPT, in the order of its entries."""
    return tuple(
        FoundPartition(
            "GPT",
            number,
            each.offset,
            each.size,
            each.label,
            each.type_guid == ESP,
            type_id=str(each.type_guid),
            uuid=str(each.guid),
            attributes=each.attributes,
        )
        for number, each in table.partitions.items()
    )


def read_logical(reader: ContentReader) -> Iterator[FoundPartition]:
    """Yield the logical partitions behind the primary ones, numbered from 5.

    They are a chain of tables in the extended partition, each with one partition and the place of
    the next table; at most 64 are read.
    """
    base = _extended_start(reader.read(0, _SECTOR))
    place, number = base, _FIRST_LOGICAL
    while place and number < _FIRST_LOGICAL + _MOST_LOGICAL:
        table = reader.read(place * _SECTOR, _SECTOR)
        if len(table) < _SECTOR or table[510:] != b"\x55\xaa":
            return
        entries = list(_ENTRY.iter_unpack(table[_FIRST_ENTRY:510]))
        active, kind, start, count = entries[0]
        if kind and start and count:
            yield _mbr_partition(number, active, kind, place + start, count)
            number += 1
        following = entries[1][2] if entries[1][1] in _EXTENDED else 0
        if base + following <= place:
            return
        place = base + following


def _extended_start(head: bytes) -> int:
    """Return the first sector of the extended partition; 0 if there is none."""
    if len(head) < _SECTOR or head[510:512] != b"\x55\xaa":
        return 0
    entries = _ENTRY.iter_unpack(head[_FIRST_ENTRY:510])
    return next((start for _, kind, start, _ in entries if kind in _EXTENDED), 0)


def _mbr_partition(number: int, active: int, kind: int, start: int, count: int) -> FoundPartition:
    return FoundPartition(
        "MBR",
        number,
        start * _SECTOR,
        count * _SECTOR,
        "",
        is_esp=kind == _ESP,
        type_id=f"{kind:#04x}",
        attributes=active & _ACTIVE,
    )


def read_mbr(head: bytes) -> tuple[FoundPartition, ...]:
    """Return the primary partitions in the MBR of a disk that starts with `head`.

    Empty without a table, or for the protective MBR of a GPT. Sectors have 512 bytes. Partitions
    may exceed the disk.
    """
    if len(head) < _SECTOR or head[510:512] != b"\x55\xaa":
        return ()
    entries = list(_ENTRY.iter_unpack(head[_FIRST_ENTRY:510]))
    if any(kind == PROTECTIVE for _, kind, _, _ in entries):
        return ()
    return tuple(
        _mbr_partition(number, active, kind, start, count)
        for number, (active, kind, start, count) in enumerate(entries, start=1)
        if kind and kind not in _EXTENDED and start and count
    )
