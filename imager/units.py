"""Byte sizes as people write and read them.

`KiB MiB GiB TiB` are powers of 1024, `kB MB GB TB` (and `KB`) powers of 1000, a
bare number is bytes: the rules of Talos's `--image-disk-size`.
"""

from __future__ import annotations

import re
from decimal import Decimal

from imager.errors import InputError

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

_FACTORS = {
    "": 1,
    "B": 1,
    **{f"{p}iB": 1 << (10 * n) for n, p in enumerate("KMGTP", start=1)},
    **{f"{p}B": 10 ** (3 * n) for n, p in enumerate("KMGTP", start=1)},
    "kB": 1000,
}
_LOWER = {name.lower(): factor for name, factor in _FACTORS.items()}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)", re.ASCII)
_LARGEST = 1 << 63


def parse_size(text: str) -> int:
    """Return the size in bytes that `text` (`4GiB`, `4 GB`, `1.5GiB`, `512`) names.

    Raises InputError when it does not parse, is negative, or is not whole bytes.
    """
    match = _SIZE.fullmatch(text.strip())
    factor = _LOWER.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise InputError(f"{text!r} is not a size", hint="write it as 4GiB, 4096MiB or 4GB")
    size = Decimal(match[1]) * factor
    if size != int(size) or size >= _LARGEST:
        raise InputError(f"{text!r} is not a whole number of bytes below 8 EiB")
    return int(size)


def format_size(size: int) -> str:
    """Return `size` bytes for a person: exact where short (`4 GiB`), else one decimal."""
    value, unit = float(size), "B"
    for name in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if value < 1024:
            break
        value, unit = value / 1024, name
    return f"{value:.0f} {unit}" if value == int(value) else f"{value:.1f} {unit}"


def align_up(value: int, alignment: int) -> int:
    """Return the smallest multiple of `alignment` that is at least `value`."""
    return -(-value // alignment) * alignment


def count(number: int, noun: str) -> str:
    """Return `number` and `noun`, in the plural unless it is 1."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
