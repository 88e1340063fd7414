"""Partitions, and their entries in a GUID partition table (UEFI 2.10, 5.3.3).

gpt-image's objects serialize the entries.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

from gpt_image.partition import Partition as EntryRecord

ESP = UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
BIOS_BOOT = UUID("21686148-6449-6e6f-744e-656564454649")
BASIC_DATA = UUID("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")
LINUX_DATA = UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
# Attribute bit 2: legacy BIOS bootable.
LEGACY_BOOT = 1 << 2

NO_TYPE = bytes(16)
_ENTRY = struct.Struct("<16s16sQQQ72s")
ENTRY_SIZE = _ENTRY.size
_LAST_SECTOR = slice(40, 48)
_LABEL_BYTES = 72


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition: `size` bytes at byte `offset`; `attributes` is the raw 64-bit mask."""

    label: str
    type_guid: UUID
    guid: UUID
    offset: int
    size: int
    attributes: int = 0

    @property
    def end(self) -> int:
        """The end offset, exclusive."""
        return self.offset + self.size


def split_entries(array: bytes, size: int) -> list[bytes]:
    """Split an array of entries into entries of `size` bytes each."""
    return [array[start : start + size] for start in range(0, len(array), size)]


def numbered_partitions(
    entries: Iterable[bytes], sector_size: int
) -> Iterator[tuple[int, Partition]]:
    """Yield number (from 1) and partition of each entry in use, without checking its range."""
    for number, raw in enumerate(entries, start=1):
        kind, guid, first, last, attributes, name = _ENTRY.unpack_from(raw)
        if kind != NO_TYPE:
            label = name.decode("utf-16-le", "replace").split("\0", 1)[0]
            offset, size = first * sector_size, (last - first + 1) * sector_size
            ids = UUID(bytes_le=kind), UUID(bytes_le=guid)
            yield number, Partition(label, *ids, offset, size, attributes)


def marshal_entry(part: Partition, sector_size: int) -> bytes:
    """Return the entry of a partition, with `ENTRY_SIZE` bytes."""
    ids = str(part.type_guid), str(part.guid)
    record = EntryRecord(part.label, part.size, *ids, partition_attributes=part.attributes)
    record.first_lba = part.offset // sector_size
    record.last_lba = part.end // sector_size - 1
    data: bytes = record.marshal()
    return data


def with_last_sector(entry: bytes, last: int) -> bytes:
    """Return the entry with the last sector set to `last`; its other bytes do not change."""
    changed = bytearray(entry)
    changed[_LAST_SECTOR] = last.to_bytes(8, "little")
    return bytes(changed)


def check_new(partitions: Sequence[Partition], sector_size: int) -> None:
    """Raise ValueError unless the partitions can be written as entries of one table."""
    for part in partitions:
        if part.offset % sector_size or part.size % sector_size:
            raise ValueError(f"partition {part.label} is not aligned to {sector_size}-byte sectors")
        if len(part.label.encode("utf-16-le")) > _LABEL_BYTES:
            raise ValueError(f"partition label {part.label!r} is longer than {_LABEL_BYTES} bytes")
    if len({part.guid for part in partitions}) < len(partitions):
        raise ValueError("two partitions have the same GUID")


def check_apart(partitions: Iterable[Partition], start: int, end: int) -> None:
    """Raise ValueError if partitions overlap or extend outside the bytes [start, end)."""
    ordered = sorted(partitions, key=lambda part: part.offset)
    for part in ordered:
        if part.size <= 0 or part.offset < start or part.end > end:
            raise ValueError(f"partition {part.label!a} is empty or outside of [{start}, {end})")
    for one, two in pairwise(ordered):
        if two.offset < one.end:
            raise ValueError(f"partitions {one.label!a} and {two.label!a} overlap")
