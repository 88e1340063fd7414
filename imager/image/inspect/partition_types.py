"""Names of partition types and flags.

GPT types: UEFI 2.10, table 5.7, and https://uapi-group.org/specifications/specs/
discoverable_partitions_specification/; MBR types: https://www.win.tue.nl/~aeb/partitions/.
"""

from __future__ import annotations

from collections.abc import Mapping

from imager.formats.partitions import FoundPartition

_NAMES: Mapping[str, str] = {
    "c12a7328-f81f-11d2-ba4b-00a0c93ec93b": "EFI system",
    "21686148-6449-6e6f-744e-656564454649": "BIOS boot",
    "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7": "basic data",
    "e3c9e316-0b5c-4db8-817d-f92df00215ae": "Microsoft reserved",
    "0fc63daf-8483-4772-8e79-3d69d8477de4": "Linux data",
    "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f": "Linux swap",
    "e6d6d379-f507-44c2-a23c-238f2a3df928": "Linux LVM",
    "a19d880f-05fc-4d3b-a006-743f0f84911e": "Linux RAID",
    "bc13c2ff-59e6-4262-a352-b275fd6f7172": "Linux extended boot",
    "4f68bce3-e8cd-4db1-96e7-fbcaf984b709": "Linux root (x86-64)",
    "b921b045-1df0-41c3-af44-4c6f280d3fae": "Linux root (arm64)",
    "8484680c-9521-48c6-9c11-b0720656f69e": "Linux /usr (x86-64)",
    "b0e01050-ee5f-4390-949a-9101b17104e9": "Linux /usr (arm64)",
    "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5": "Linux root verity (x86-64)",
    "df3300ce-d69f-4c92-978c-9bfb0f38d820": "Linux root verity (arm64)",
    "933ac7e1-2eb4-4f13-b844-0e14e2aef915": "Linux /home",
    "4d21b016-b534-45c2-a9fb-5c16e091fd2d": "Linux /var",
    "0x01": "FAT12",
    "0x04": "FAT16",
    "0x06": "FAT16",
    "0x07": "NTFS or exFAT",
    "0x0b": "FAT32",
    "0x0c": "FAT32 (LBA)",
    "0x0e": "FAT16 (LBA)",
    "0x17": "hidden NTFS",
    "0x82": "Linux swap",
    "0x83": "Linux",
    "0x8e": "Linux LVM",
    "0xcd": "ISO 9660",
    "0xef": "EFI system",
}
_REQUIRED, _NO_BLOCK_IO, _LEGACY_BOOT, _ACTIVE = 1, 2, 4, 0x80


def type_name(type_id: str) -> str:
    """Return the common name of a partition type, empty if it has none here."""
    return _NAMES.get(type_id, "")


def flags_of(partition: FoundPartition) -> tuple[str, ...]:
    """Return the flags of a partition by name: those of UEFI, or `active` in an MBR."""
    if partition.table == "MBR":
        return ("active",) if partition.attributes & _ACTIVE else ()
    flags = (
        (_REQUIRED, "required"),
        (_NO_BLOCK_IO, "no-block-io"),
        (_LEGACY_BOOT, "legacy-boot"),
        (1 << 59, "grow-file-system"),
        (1 << 60, "read-only"),
        (1 << 63, "no-auto"),
    )
    return tuple(name for bit, name in flags if partition.attributes & bit)
