"""Read MBR partition tables: the four primary partitions of a disk with 512-byte sectors."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_SECTOR = 512
_FIRST_ENTRY = 446
_ENTRY = struct.Struct("<4xB3xII")
_EXTENDED = frozenset((0x05, 0x0F, 0x85))
PROTECTIVE = 0xEE
_ESP = 0xEF


@dataclass(frozen=True, slots=True)
class MbrPartition:
    """A primary partition: `size` bytes at byte `offset`; entry `number` of the table (from 1)."""

    number: int
    offset: int
    size: int
    is_esp: bool


def read_mbr(head: bytes) -> tuple[MbrPartition, ...]:
    """Return the primary partitions of a disk that starts with `head`.

    Empty without a table, or for the protective MBR of a GPT. Partitions may exceed the disk.
    """
    if len(head) < _SECTOR or head[510:512] != b"\x55\xaa":
        return ()
    entries = list(_ENTRY.iter_unpack(head[_FIRST_ENTRY:510]))
    if any(kind == PROTECTIVE for kind, _, _ in entries):
        return ()
    return tuple(
        MbrPartition(number, start * _SECTOR, count * _SECTOR, kind == _ESP)
        for number, (kind, start, count) in enumerate(entries, start=1)
        if kind and kind not in _EXTENDED and start and count
    )
