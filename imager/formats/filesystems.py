"""Identify file systems by their superblocks: kind, label, UUID, size, and how full they are.

Only what a superblock says is used, so this is fast for volumes of any size; FAT has its free space
in its allocation table. A damaged superblock is a problem of the result, not an error.

Superblocks: ext4, XFS, squashfs, Btrfs and erofs as in Linux (fs/ext4/ext4.h,
fs/xfs/libxfs/xfs_format.h, fs/squashfs/squashfs_fs.h, fs/btrfs/fs.h, fs/erofs/erofs_fs.h),
ISO 9660 as in ECMA-119, NTFS and exFAT as Microsoft documents them, swap as in mm/swapfile.c, LUKS
as in the LUKS2 specification, LVM as in its lib/format_text/layout.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

from imager.content.extents import Content
from imager.content.random_access import ContentReader
from imager.formats.ext4.groups import is_ext4, read_ext4_label, read_ext4_size, u32
from imager.formats.fat.geometry import is_fat
from imager.formats.fat.read import describe_fat
from imager.formats.iso9660.read import is_iso9660
from imager.support.errors import ImagerError
from imager.support.units import CD_SECTOR

HEAD = 68 << 10
_SUPERBLOCK = 1024
_JOURNAL, _EXTENTS, _CLEAN = 0x4, 0x40, 1
_BTRFS = 64 << 10


@dataclass(frozen=True, slots=True)
class FileSystem:
    """A file system, or another use of a partition that is recognised by its first bytes.

    `size` and `used` are in bytes; `used` is None if only the file system itself could count it.
    """

    kind: str
    label: str = ""
    uuid: str = ""
    size: int | None = None
    used: int | None = None
    problems: tuple[str, ...] = ()


def identify(volume: Content, *, name: str = "the image") -> FileSystem | None:
    """Return the file system of `volume`; None if it is not a known one. `name` is for messages.

    An ISO that also has a partition table is an ISO. Raises OSError for a read error.
    """
    with ContentReader(volume) as reader:
        head = reader.read(0, HEAD)
    for look in (_iso, _ext, _xfs, _btrfs, _squashfs, _erofs, _swap, _luks, _lvm):
        found = look(head)
        if found is not None:
            return found
    return _of_windows(head) or (_fat(volume, name) if is_fat(head) else None)


def _fat(volume: Content, name: str) -> FileSystem:
    try:
        found = describe_fat(volume, name=name)
    except ImagerError as error:
        return FileSystem("fat", problems=(error.message,))
    uuid = f"{found.serial >> 16:04X}-{found.serial & 0xFFFF:04X}"
    return FileSystem(f"fat{found.bits}", found.label, uuid, found.size, found.used)


def _iso(head: bytes) -> FileSystem | None:
    if not is_iso9660(head):
        return None
    for start in range(16 * CD_SECTOR, len(head) - CD_SECTOR + 1, CD_SECTOR):
        descriptor = head[start : start + CD_SECTOR]
        if descriptor[:6] == b"\1CD001":
            label = descriptor[40:72].decode("ascii", "replace").rstrip(" \0")
            size = u32(descriptor, 80) * CD_SECTOR
            # Linux takes the time of creation as UUID.
            stamp = descriptor[813:829].decode("ascii", "replace")
            uuid = "-".join(stamp[a:b] for a, b in pairwise(_DATE))
            return FileSystem("iso9660", label, uuid if stamp.isdigit() else "", size, size)
    return FileSystem("iso9660", problems=("it has no primary volume descriptor",))


_DATE = (0, 4, 6, 8, 10, 12, 14, 16)


def _ext(head: bytes) -> FileSystem | None:
    if not is_ext4(head):
        return None
    raw = head[_SUPERBLOCK : 2 * _SUPERBLOCK]
    compatible, incompatible = u32(raw, 0x5C), u32(raw, 0x60)
    kind = "ext4" if incompatible & _EXTENTS else "ext3" if compatible & _JOURNAL else "ext2"
    block = 1024 << min(u32(raw, 0x18), 6)
    free = u32(raw, 0x0C) | (u32(raw, 0x158) << 32 if incompatible & 0x80 else 0)
    size = read_ext4_size(head)
    problems = [] if int.from_bytes(raw[0x3A:0x3C], "little") & _CLEAN else ["it is not clean"]
    if incompatible & _JOURNAL:
        problems.append("its journal must be replayed")
    return FileSystem(
        kind,
        read_ext4_label(head),
        str(UUID(bytes=raw[0x68:0x78])),
        size,
        max(size - free * block, 0),
        tuple(problems),
    )


def _xfs(head: bytes) -> FileSystem | None:
    if not head.startswith(b"XFSB") or len(head) < 512:
        return None
    block, blocks = struct.unpack_from(">IQ", head, 4)
    (free,) = struct.unpack_from(">Q", head, 144)
    label = head[108:120].split(b"\0", 1)[0].decode("utf-8", "replace")
    uuid = str(UUID(bytes=head[32:48]))
    if block not in (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536):
        return FileSystem("xfs", label, uuid, problems=("its superblock is invalid",))
    used = (blocks - free) * block
    return FileSystem("xfs", label, uuid, blocks * block, max(used, 0))


def _btrfs(head: bytes) -> FileSystem | None:
    if head[_BTRFS + 0x40 : _BTRFS + 0x48] != b"_BHRfS_M":
        return None
    raw = head[_BTRFS:]
    total, used = struct.unpack_from("<QQ", raw, 0x70)
    label = raw[0x12B:0x22B].split(b"\0", 1)[0].decode("utf-8", "replace")
    return FileSystem("btrfs", label, str(UUID(bytes=raw[0x20:0x30])), total, used)


def _squashfs(head: bytes) -> FileSystem | None:
    if not head.startswith(b"hsqs") or len(head) < 96:
        return None
    (used,) = struct.unpack_from("<Q", head, 40)
    return FileSystem("squashfs", size=used, used=used)


def _erofs(head: bytes) -> FileSystem | None:
    raw = head[_SUPERBLOCK:]
    if u32(raw, 0) != 0xE0F5E1E2:
        return None
    size = u32(raw, 36) << min(raw[12], 16)
    label = raw[64:80].split(b"\0", 1)[0].decode("utf-8", "replace")
    return FileSystem("erofs", label, str(UUID(bytes=raw[48:64])), size, size)


def _swap(head: bytes) -> FileSystem | None:
    if head[4086:4096] != b"SWAPSPACE2":
        return None
    label = head[1052:1068].split(b"\0", 1)[0].decode("utf-8", "replace")
    size = (u32(head, 1028) + 1) * 4096
    return FileSystem("swap", label, str(UUID(bytes=head[1036:1052])), size)


def _luks(head: bytes) -> FileSystem | None:
    if not head.startswith(b"LUKS\xba\xbe") or len(head) < 4096:
        return None
    version = int.from_bytes(head[6:8], "big")
    uuid = head[168:208].split(b"\0", 1)[0].decode("ascii", "replace")
    label = head[24:72].split(b"\0", 1)[0].decode("utf-8", "replace") if version == 2 else ""
    return FileSystem(f"luks{version}", label, uuid)


def _lvm(head: bytes) -> FileSystem | None:
    is_volume = head[512:520] == b"LABELONE" and head[536:540] == b"LVM2"
    return FileSystem("lvm2") if is_volume else None


def _of_windows(head: bytes) -> FileSystem | None:
    if len(head) < 512:
        return None
    if head[3:11] == b"NTFS    ":
        sector, sectors = struct.unpack_from("<H", head, 11)[0], struct.unpack_from("<Q", head, 40)
        return FileSystem("ntfs", uuid=f"{_u64(head, 72):016X}", size=sectors[0] * sector)
    if head[3:11] == b"EXFAT   ":
        size = _u64(head, 72) << min(head[108], 12)
        serial = u32(head, 100)
        return FileSystem("exfat", uuid=f"{serial >> 16:04X}-{serial & 0xFFFF:04X}", size=size)
    return None


def _u64(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")
