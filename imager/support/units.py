"""Parse and format byte sizes.

The syntax is that of Talos, ParseBytes of github.com/dustin/go-humanize: a decimal number, in
which commas are ignored, optional blanks, and a unit in any case. `KiB MiB ... EiB` (and `Ki`)
are powers of 1024, `kB MB ... EB` (and `k`) powers of 1000; a bare number is bytes. A fraction
of a byte is dropped.
"""

from __future__ import annotations

import re

from imager.support.errors import InputError

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
# Disk sector sizes, in bytes.
SECTOR_SIZES = (512, 4096)
# The sector size of CDs, DVDs and their images.
CD_SECTOR = 2048

_PREFIXES = "kmgtpe"
_FACTORS = {
    "": 1,
    "b": 1,
    **{f"{p}i{b}": 1 << (10 * n) for n, p in enumerate(_PREFIXES, start=1) for b in ("", "b")},
    **{f"{p}{b}": 10 ** (3 * n) for n, p in enumerate(_PREFIXES, start=1) for b in ("", "b")},
}
_SIZE = re.compile(r"([0-9.,]+)(.*)", re.ASCII | re.DOTALL)
_LARGEST = 1 << 63
_SECTOR = 4096
_LONGEST = 60


def parse_bytes(text: str) -> int:
    """Parse a size (`4GiB`, `4 gb`, `1.8TiB`, `1,024`, `4G`) and return it in bytes.

    The result equals Talos's, which uses floating-point arithmetic, up to 2^64 - 1. Raises
    InputError for any other text.
    """
    number, unit = _parts(text)
    try:
        size = float(number.replace(",", "")) * _FACTORS[unit.lower()]
    except (ValueError, KeyError) as error:
        raise InputError(
            f"{text[:_LONGEST]!r} is not a size", hint="write it as 4GiB, 4096MiB or 4GB"
        ) from error
    if size >= 1 << 64:
        raise InputError(f"{text[:_LONGEST]!r} is larger than 16 EiB")
    return int(size)


def parse_size(text: str) -> int:
    """Parse the size of an option or a profile field, in bytes; see `parse_bytes`.

    A fractional size, such as 1.8TiB, is rounded down to whole 4096-byte sectors, so that it is
    valid for a disk. `4G` is rejected as ambiguous: it is 4 GB to Talos, and 4 GiB to qemu-img and
    truncate. Raises InputError.
    """
    size = parse_bytes(text)
    number, unit = _parts(text)
    if unit and unit.lower() in _PREFIXES:
        prefix = unit.upper()
        metric = "k" if prefix == "K" else prefix
        raise InputError(
            f"{text!r} is ambiguous: {number}{metric}B to Talos, {number}{prefix}iB to qemu-img: "
            "write one of these"
        )
    if size >= _LARGEST:
        raise InputError(f"{text!r} is not below 8 EiB, the limit for the size of a file")
    return size - size % _SECTOR if "." in number and size > _SECTOR else size


def _parts(text: str) -> tuple[str, str]:
    """Return the number and the unit of a size as written; both empty if it has no number."""
    match = _SIZE.fullmatch(text)
    return (match[1], match[2].strip()) if match else ("", "")


def format_size(size: int) -> str:
    """Format `size` bytes for a person: exact if short (`4 GiB`), otherwise with one decimal."""
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
    """Return `number` and `noun`, plural unless the number is 1."""
    plural = f"{noun[:-1]}ies" if noun.endswith("ry") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"
