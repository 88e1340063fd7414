"""cpio archives in the "newc" format, as the kernel unpacks them for an initramfs.

Specification: Linux, Documentation/driver-api/early-userspace/buffer-format.rst. All entries are
owned by root, inode numbers start at 1, and all times are equal, so the same tree gives the same
bytes.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass

from imager.content.extents import Content
from imager.content.tree import Device, Link, PlacedFile, Tree, VolumePlan
from imager.support.units import align_up

_MAGIC = "070701"
_ALIGNMENT = 4
_LARGEST_FIELD = 0xFFFFFFFF
_NOTHING = Content(0)


@dataclass(frozen=True, slots=True)
class _Record:
    """An entry of the archive; `mode` includes the file type."""

    path: str
    mode: int
    content: Content = _NOTHING
    device: tuple[int, int] = (0, 0)


def plan_cpio(tree: Tree, *, timestamp: int) -> VolumePlan:
    """Return an archive of `tree`: folders, files, links and devices, in tree order.

    All modification times are `timestamp` (seconds since 1970, UTC). Raises ValueError for a file
    size or time that does not fit into the 32-bit fields of the format.
    """
    placed: list[tuple[int, Content]] = []
    files: list[PlacedFile] = []
    end = 0
    for inode, record in enumerate(_records(tree), start=1):
        head = Content.of_bytes(_header(record, inode=inode, timestamp=timestamp))
        start = end + head.size
        placed += [(end, head), (start, record.content)]
        if stat.S_ISREG(record.mode):
            files.append(PlacedFile(record.path, start, record.content.size))
        end = start + align_up(record.content.size, _ALIGNMENT)
    trailer = Content.of_bytes(_header(_Record("TRAILER!!!", 0), inode=0, timestamp=0))
    return VolumePlan(Content.compose(end + trailer.size, [*placed, (end, trailer)]), tuple(files))


def _records(tree: Tree) -> Iterator[_Record]:
    """Yield the entries, folders first, because the kernel does not create missing folders."""
    for path in tree.folders:
        yield _Record(path, stat.S_IFDIR | 0o755)
    for file in tree.files:
        yield _Record(file.path, stat.S_IFREG | file.mode, file.content)
    for node in tree.nodes:
        match node:
            case Link(path, target):
                yield _Record(path, stat.S_IFLNK | 0o777, Content.of_bytes(target.encode()))
            case Device(path, major, minor):
                yield _Record(path, stat.S_IFCHR | 0o600, device=(major, minor))


def _header(record: _Record, *, inode: int, timestamp: int) -> bytes:
    name = record.path.encode() + b"\0"
    fields = (
        inode,
        record.mode,
        0,  # uid
        0,  # gid
        2 if stat.S_ISDIR(record.mode) else 1,
        timestamp,
        record.content.size,
        0,  # major of the archive's own device
        0,  # minor
        *record.device,
        len(name),
        0,  # checksum: only used by the crc format
    )
    if max(fields) > _LARGEST_FIELD or min(fields) < 0:
        raise ValueError(f"{record.path!r} does not fit into a cpio header")
    header = (_MAGIC + "".join(f"{field:08x}" for field in fields)).encode() + name
    return header.ljust(align_up(len(header), _ALIGNMENT), b"\0")
