"""What texts for a person have in common: tables, and sizes to the byte."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from imager.support.units import MIB


def table(rows: Sequence[Sequence[str]], *, numbers: int) -> Iterator[str]:
    """Yield the lines of a table; the first `numbers` columns are flush right, the others left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if column < numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def exact_size(size: int) -> str:
    """Return `size` bytes to the byte, and in MiB."""
    return f"{size} bytes ({mebibytes(size)})"


def mebibytes(size: int) -> str:
    """Return `size` bytes in MiB, with one decimal: sizes are compared in one unit."""
    if not size:
        return "0 MiB"
    return f"{size / MIB:.1f} MiB" if size >= MIB // 10 else "< 0.1 MiB"
