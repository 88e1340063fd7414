"""Plan a tar archive of one file whose holes take no space.

Format: GNU tar's old sparse format, https://www.gnu.org/software/tar/manual/html_node/Standard.html
(`struct oldgnu_header` and `struct sparse_header`), which `tar --format=oldgnu --sparse` writes.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from itertools import islice

from imager.content.extents import Content
from imager.content.tar import BLOCK, END
from imager.support.units import align_up

# Regions start and end at multiples of this, as they do when a file system reports them.
_GRAIN = 4096
_CHECKSUM = slice(148, 156)
_SPARSE_FIELDS = slice(386, 495)
_IN_HEADER, _IN_EXTENSION = 4, 21


def plan_sparse_tar(name: str, content: Content, *, timestamp: int) -> Content:
    """Return an archive with `content` as the file `name`, without its holes.

    Owner 0:0 without names, mode 0644, modification time `timestamp`. Names are at most 100 bytes.
    """
    regions = list(_regions(content))
    stored = sum(len(region) for region in regions)
    heads = _heads(name, content.size, stored, regions, timestamp)
    return Content.concat(
        (
            Content.of_bytes(heads),
            *(content.slice(region.start, len(region)) for region in regions),
            Content(align_up(stored, BLOCK) - stored),
            Content.of_bytes(END),
        )
    )


def _regions(content: Content) -> Iterator[range]:
    """Yield the ranges with data in order, and an empty one at the end if that is a hole."""
    start = end = 0
    for extent in content.extents:
        first = extent.offset // _GRAIN * _GRAIN
        if first > end:
            if end > start:
                yield range(start, end)
            start = first
        end = min(align_up(extent.end, _GRAIN), content.size)
    if end > start:
        yield range(start, end)
    if end < content.size or not content.size:
        yield range(content.size, content.size)


def _heads(name: str, size: int, stored: int, regions: Sequence[range], timestamp: int) -> bytes:
    """Return the header, and the extensions with the regions that have no room in it."""
    info = tarfile.TarInfo(name)
    info.type = tarfile.GNUTYPE_SPARSE
    info.size = stored
    info.mtime = timestamp
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT, "ascii", "strict"))
    entries = (_number(region.start) + _number(len(region)) for region in regions)
    fields = b"".join(islice(entries, _IN_HEADER)).ljust(_IN_HEADER * 24, b"\0")
    more = len(regions) > _IN_HEADER
    header[_SPARSE_FIELDS] = fields + bytes([more]) + _number(size)
    header[_CHECKSUM] = b" " * 8
    header[_CHECKSUM] = b"%06o\0 " % sum(header)
    return bytes(header) + b"".join(_extensions(entries, len(regions) - _IN_HEADER))


def _extensions(entries: Iterator[bytes], count: int) -> Iterator[bytes]:
    while count > 0:
        count -= _IN_EXTENSION
        fields = b"".join(islice(entries, _IN_EXTENSION)).ljust(_IN_EXTENSION * 24, b"\0")
        yield (fields + bytes([count > 0])).ljust(BLOCK, b"\0")


def _number(value: int) -> bytes:
    """Return a number as 11 octal digits; from 8 GiB on in binary, as GNU tar has it."""
    if value < 8**11:
        return b"%011o\0" % value
    return b"\x80" + value.to_bytes(11, "big")
