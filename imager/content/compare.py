"""Compare two contents by their bytes, in one pass, without reading what is a hole in both."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from imager.content.extents import Content
from imager.content.reading import iterate_content

_CHUNK = 1 << 20


class _Cursor:
    """The bytes of a content in order: a piece is data, or the length of a hole."""

    def __init__(self, content: Content) -> None:
        self._pieces: Iterator[bytes | int] = iter(())
        if content.extents or content.size:
            self._pieces = iterate_content(content, chunk=_CHUNK)
        # Comparing views is slow, so these are bytes.
        self._data: bytes | None = None
        self.left = 0

    def more(self) -> bool:
        """Go to the next piece if this one is at its end; return whether there is one."""
        while not self.left:
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._data = None if isinstance(piece, int) else bytes(piece)
            self.left = piece if isinstance(piece, int) else len(piece)
        return True

    def take(self, count: int) -> bytes | None:
        """Return the next `count` bytes of the piece; None if they are a hole."""
        start = -self.left
        self.left -= count
        if self._data is None:
            return None
        return self._data[start : -self.left or None]


def first_difference(
    one: Content, other: Content, progress: Callable[[int], None] = lambda _count: None
) -> int | None:
    """Return the first byte that differs; None if the contents are equal.

    If one is the beginning of the other, it is the shorter size. `progress` is called with the
    bytes compared since the last call. Raises InputError and OutputError as `iterate_content`.
    """
    if one == other:
        progress(one.size)
        return None
    cursors = _Cursor(one), _Cursor(other)
    position = 0
    while cursors[0].more() and cursors[1].more():
        count = min(cursors[0].left, cursors[1].left)
        found = _different(cursors[0].take(count), cursors[1].take(count), count)
        if found is not None:
            return position + found
        position += count
        progress(count)
    return None if one.size == other.size else min(one.size, other.size)


def _different(one: bytes | None, other: bytes | None, count: int) -> int | None:
    """Return where two pieces differ first; a hole is zeros."""
    if one is None and other is None:
        return None
    left = bytes(count) if one is None else one
    right = bytes(count) if other is None else other
    if left == right:
        return None
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle
    return low
