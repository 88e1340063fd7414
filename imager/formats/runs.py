"""Where the bytes of a file or disk are stored, piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from imager.content.extents import Codec


@dataclass(frozen=True, slots=True)
class Run:
    """`length` bytes from byte `offset` on, stored at byte `place` of the volume or image.

    With a `codec` they are a stream of at most `packed` bytes there.
    """

    offset: int
    place: int
    length: int
    packed: int = 0
    codec: Codec | None = None


def joined(runs: Iterable[Run]) -> Iterator[Run]:
    """Yield the runs, those joined that follow each other in both places, not compressed."""
    last: Run | None = None
    for run in runs:
        if (
            last is not None
            and last.codec is run.codec is None
            and run.offset - last.offset == run.place - last.place == last.length
        ):
            last = Run(last.offset, last.place, last.length + run.length)
            continue
        if last is not None:
            yield last
        last = run
    if last is not None:
        yield last
