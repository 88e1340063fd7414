"""Tables of unsigned numbers, in the byte order of a format."""

from __future__ import annotations

import sys
from array import array
from typing import Literal

Order = Literal["big", "little"]


def read_numbers(raw: bytes, kind: Literal["H", "I", "Q"], order: Order) -> array[int]:
    """Return the numbers in `raw`, of array's type `kind`; an incomplete last one is left out."""
    found = array(kind)
    found.frombytes(raw[: len(raw) // found.itemsize * found.itemsize])
    if sys.byteorder != order:
        found.byteswap()
    return found


def stored_numbers(numbers: array[int], order: Order) -> bytes:
    """Return the bytes of `numbers`, which are used up."""
    if sys.byteorder != order:
        numbers.byteswap()
    return numbers.tobytes()
