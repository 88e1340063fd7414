"""MBR partition tables, read: the four primary partitions of a disk with 512-byte sectors."""

from __future__ import annotations

import struct

_SECTOR = 512
_FIRST_ENTRY = 446
_ENTRY = struct.Struct("<4xB3xII")
_EXTENDED = frozenset((0x05, 0x0F, 0x85))
_PROTECTIVE = 0xEE


def read_mbr(head: bytes) -> tuple[tuple[int, int], ...]:
    """Return the (offset, size) in bytes of the partitions of a disk that begins with `head`.

    There are none without a table, nor in the one that only protects a GPT; nobody has checked
    that they lie on the disk.
    """
    if len(head) < _SECTOR or head[510:512] != b"\x55\xaa":
        return ()
    entries = list(_ENTRY.iter_unpack(head[_FIRST_ENTRY:510]))
    if any(kind == _PROTECTIVE for kind, _, _ in entries):
        return ()
    return tuple(
        (start * _SECTOR, count * _SECTOR)
        for kind, start, count in entries
        if kind and kind not in _EXTENDED and start and count
    )
