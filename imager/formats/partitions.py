"""Finds the partitions of an image, by whichever table it has."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from imager.formats.fat.read import is_fat
from imager.formats.gpt.entries import ESP
from imager.formats.gpt.mbr import read_mbr
from imager.formats.gpt.read import gpt_sector_size, read_gpt
from imager.formats.iso9660.read import is_iso9660
from imager.support.errors import InputError

HEAD = 64 << 10


class TableKind(enum.Enum):
    """The kind of a partition table; the value is its name for a person."""

    GPT = "GPT"
    MBR = "MBR"


@dataclass(frozen=True, slots=True)
class FoundPartition:
    """A partition of `size` bytes at byte `offset`, number `number` in the table (from 1).

    Partitions of an MBR have no label.
    """

    table: TableKind
    number: int
    offset: int
    size: int
    label: str
    is_esp: bool


def find_partitions(path: Path, head: bytes) -> tuple[FoundPartition, ...]:
    """Return the partitions of the image `path`, which begins with the `HEAD` bytes `head`.

    A GPT comes first. An ISO may have one that breaks the rules (hybrid ones overlap): then its
    MBR counts. The boot sector of a FAT volume is not taken for an MBR. Raises InputError for an
    unsound GPT of anything but an ISO. Nothing checks that MBR partitions lie in the file.
    """
    sector = gpt_sector_size(head)
    if sector is not None:
        try:
            partitions = read_gpt(path, sector).partitions
        except InputError:
            if not is_iso9660(head):
                raise
        else:
            return tuple(
                FoundPartition(
                    TableKind.GPT, number, each.offset, each.size, each.label, each.type_guid == ESP
                )
                for number, each in partitions.items()
            )
    if is_fat(head):
        return ()
    return tuple(
        FoundPartition(TableKind.MBR, each.number, each.offset, each.size, "", each.is_esp)
        for each in read_mbr(head)
    )
