"""Find the byte ranges of a content that hold data, without reading them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from imager.content.extents import Content, FileRange
from imager.content.reading import Sources
from imager.support.units import align_up


def data_ranges(content: Content) -> list[range]:
    """Return the byte ranges of `content` that are not known to be zero, sorted and merged.

    Holes of source files count as zero. Raises InputError when a source is shorter than planned,
    OutputError when it cannot be opened.
    """
    return merged(_ranges(content))


def data_blocks(content: Content, size: int) -> list[range]:
    """Return the numbers of the blocks of `size` bytes that have data, as ranges."""
    spans = data_ranges(content)
    return merged(range(each.start // size, align_up(each.stop, size) // size) for each in spans)


def merged(ranges: Iterable[range]) -> list[range]:
    """Merge sorted ranges that touch or overlap."""
    found: list[range] = []
    for each in ranges:
        if found and each.start <= found[-1].stop:
            found[-1] = range(found[-1].start, max(found[-1].stop, each.stop))
        else:
            found.append(each)
    return found


def gaps(ranges: Iterable[range], size: int) -> Iterator[range]:
    """Yield the ranges of [0, `size`) outside of `ranges`, which are sorted."""
    position = 0
    for each in ranges:
        if each.start > position:
            yield range(position, each.start)
        position = each.stop
    if size > position:
        yield range(position, size)


def _ranges(content: Content) -> Iterator[range]:
    with Sources() as sources:
        for extent in content.extents:
            match extent.source:
                case FileRange(path, offset):
                    shift = extent.offset - offset
                    for start, length in sources.data_ranges(path, offset, extent.length):
                        yield range(start + shift, start + shift + length)
                case _:
                    yield range(extent.offset, extent.end)
