"""Compose a disk of the parts that a disk image format stores anywhere in its file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from imager.content.extents import Codec, Content, Extent, FetchedRange, FileRange, StreamRange
from imager.formats.errors import DamagedVolumeError
from imager.support.errors import UnsupportedError

_MOST_EXTENTS = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """`size` bytes at byte `offset` of the disk, stored at byte `place` of the file.

    With a `codec` they are a stream of at most `packed` bytes there.
    """

    offset: int
    size: int
    place: int
    packed: int = 0
    codec: Codec | None = None


def disk_of(image: Content, size: int, parts: Iterable[Part], *, name: str) -> Content:
    """Return a disk of `size` bytes made of `parts`, which are in order; the rest is zeros.

    `name` begins messages. Raises DamagedVolumeError for parts outside of the file,
    UnsupportedError for too many of them.
    """
    extents: list[Extent] = []
    for part in _joined(parts):
        if part.offset >= size:
            break
        length = min(part.size, size - part.offset)
        if part.place >= image.size:
            raise DamagedVolumeError(
                f"{name} is cut off: it has data at byte {part.place}, behind its end"
            )
        if part.codec is None:
            # The last cluster of a file may be incomplete.
            length = min(length, image.size - part.place)
            stored = image.slice(part.place, length)
            extents += (each.shifted(part.offset) for each in stored.extents)
        else:
            packed = min(part.packed, image.size - part.place)
            stream = _stream(image.slice(part.place, packed), part.codec, name)
            extents.append(Extent(part.offset, length, stream))
        if len(extents) > _MOST_EXTENTS:
            raise UnsupportedError(
                f"{name} has more than {_MOST_EXTENTS} parts",
                hint="convert it to a raw disk first: `qemu-img convert -O raw OLD NEW`",
            )
    return Content(size, tuple(extents))


def _joined(parts: Iterable[Part]) -> Iterator[Part]:
    """Yield the parts, those joined that follow each other on the disk and in the file."""
    last: Part | None = None
    for part in parts:
        if (
            last is not None
            and last.codec is None
            and part.codec is None
            and part.offset - last.offset == part.place - last.place == last.size
        ):
            last = replace(last, size=last.size + part.size)
            continue
        if last is not None:
            yield last
        last = part
    if last is not None:
        yield last


def _stream(packed: Content, codec: Codec, name: str) -> StreamRange:
    match packed.extents:
        case [extent] if isinstance(extent.source, FileRange) and extent.length == packed.size:
            place = extent.source
            return StreamRange(place.path, codec, 0, place.offset, packed.size)
        case [extent] if isinstance(extent.source, FetchedRange) and extent.length == packed.size:
            file, start = extent.source.file, extent.source.offset
            return StreamRange(file.path, codec, 0, start, packed.size, file)
    raise UnsupportedError(
        f"{name} has compressed data, and is itself compressed or in pieces",
        hint="decompress or copy it to a file first",
    )
