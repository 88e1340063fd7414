"""Compose a disk of the parts that a disk image format stores anywhere in its file."""

from __future__ import annotations

from collections.abc import Iterable

from imager.content.extents import BlockRange, Content, Extent
from imager.formats.errors import DamagedVolumeError
from imager.formats.runs import Run, joined
from imager.support.errors import UnsupportedError

_MOST_EXTENTS = 1 << 20


def disk_of(image: Content, size: int, runs: Iterable[Run], *, name: str) -> Content:
    """Return a disk of `size` bytes made of `runs`, which are in order; the rest is zeros.

    `name` begins messages. Raises DamagedVolumeError for runs outside of the file,
    UnsupportedError for too many of them.
    """
    extents: list[Extent] = []
    for run in joined(runs):
        if run.offset >= size:
            break
        length = min(run.length, size - run.offset)
        if run.place >= image.size:
            raise DamagedVolumeError(
                f"{name} is cut off: it has data at byte {run.place}, behind its end"
            )
        if run.codec is None:
            # The last cluster of a file may be incomplete.
            length = min(length, image.size - run.place)
            stored = image.slice(run.place, length)
            extents += (each.shifted(run.offset) for each in stored.extents)
        else:
            packed = min(run.packed, image.size - run.place)
            block = BlockRange(image.slice(run.place, packed), run.codec, run.length)
            extents.append(Extent(run.offset, length, block))
        if len(extents) > _MOST_EXTENTS:
            raise UnsupportedError(
                f"{name} has more than {_MOST_EXTENTS} parts",
                hint="convert it to a raw disk first: `qemu-img convert -O raw OLD NEW`",
            )
    return Content(size, tuple(extents))
