"""Match digest checks with the extents of an output whose bytes they are about."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING

from imager.content.digests import Check, mismatch
from imager.content.extents import Content, Extent, FileRange, Source, StreamRange, advanced
from imager.content.reading import zeros

if TYPE_CHECKING:
    from hashlib import _Hash


@dataclass(slots=True)
class Hashing:
    """The digest of a check so far, and how many bytes are missing."""

    check: Check
    left: int
    hash: _Hash = field(default_factory=hashlib.sha256)

    def update(self, piece: bytes | int) -> int:
        """Add the next bytes, or the length of a hole, and return how many they are.

        Raises InputError after the last ones if the digest is another.
        """
        count = 0
        for data in zeros(piece) if isinstance(piece, int) else (piece,):
            self.hash.update(data)
            count += len(data)
        self.left -= count
        if not self.left:
            self.finish()
        return count

    def finish(self) -> None:
        """Raise InputError if bytes are missing or the digest is another."""
        if self.left or self.hash.hexdigest() != self.check.sha256:
            raise mismatch(self.check)


@dataclass(frozen=True, slots=True)
class HashedFile:
    """The extents that are the bytes of a check, in its order, with their sources."""

    hashing: Hashing
    extents: Sequence[tuple[FileRange, Extent]]

    @property
    def size(self) -> int:
        """The bytes of the check."""
        return self.hashing.check.content.size


# The offset in the stream, the extent, and its hash if a check is about it.
_InStream = tuple[int, Extent, Hashing | None]


@dataclass(frozen=True, slots=True)
class Matches:
    """What checks are about: `files`, and extents of streams with their hash.

    `rest` are the extents that no check is about, without those of streams; `alone` the checks of
    which not all bytes are written, or not in one pass.
    """

    files: Sequence[HashedFile]
    streams: Mapping[StreamRange, Sequence[_InStream]]
    rest: Sequence[Extent]
    alone: Sequence[Check]


def match(content: Content, checks: Iterable[Check]) -> Matches:
    """Find the extents of `content` that `checks` are about; each belongs to one check at most.

    Those of a stream are in its order, each with its offset there.
    """
    places: dict[Source, Extent] = {}
    for extent in content.extents:
        if isinstance(extent.source, FileRange | StreamRange):
            places[extent.source] = extent
    files: list[HashedFile] = []
    alone: list[Check] = []
    hashed: dict[Extent, Hashing] = {}
    for check in checks:
        found = _taken(check, places)
        if not found:
            alone.append(check)
            continue
        hashing = Hashing(check, check.content.size)
        hashed |= dict.fromkeys(found, hashing)
        if not isinstance(check.source, StreamRange):
            files.append(HashedFile(hashing, _of_files(found)))
    rest = [
        extent
        for extent in content.extents
        if extent not in hashed and not isinstance(extent.source, StreamRange)
    ]
    return Matches(files, _streams(content, hashed), rest, alone)


def _streams(
    content: Content, hashed: Mapping[Extent, Hashing]
) -> Mapping[StreamRange, Sequence[_InStream]]:
    streams: dict[StreamRange, list[_InStream]] = defaultdict(list)
    for extent in content.extents:
        if isinstance(extent.source, StreamRange):
            entry = extent.source.offset, extent, hashed.get(extent)
            streams[extent.source.stream].append(entry)
    for extents in streams.values():
        extents.sort(key=itemgetter(0))
    return streams


def _of_files(extents: Iterable[Extent]) -> list[tuple[FileRange, Extent]]:
    return [(each.source, each) for each in extents if isinstance(each.source, FileRange)]


def _taken(check: Check, places: dict[Source, Extent]) -> list[Extent]:
    """Take the extents that are the bytes of a check, in order, out of `places`.

    None if not all are there, or if one is there several times, as in damaged file systems.
    """
    found = _extents_of(check, places)
    if len({*found}) < len(found):
        return []
    for extent in found:
        del places[extent.source]
    return found


def _extents_of(check: Check, places: Mapping[Source, Extent]) -> list[Extent]:
    """Return the extents that are the bytes of a check, in order; none if not all are there."""
    if check.content.data_size < check.content.size:
        return []
    found: list[Extent] = []
    for wanted in check.content.extents:
        # A stream is read in its own order.
        if not isinstance(wanted.source, FileRange) and check.source is None:
            return []
        source, left = wanted.source, wanted.length
        while left:
            extent = places.get(source)
            if extent is None or extent.length > left:
                return []
            found.append(extent)
            source, left = advanced(source, extent.length), left - extent.length
    return found
