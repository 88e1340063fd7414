"""Format tables and sizes as text, and dataclasses as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

from imager.support.units import MIB

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from imager.oci.digest import Digest


def table(rows: Sequence[Sequence[str]], *, numbers: int) -> Iterator[str]:
    """Yield the lines of a table; the first `numbers` columns are right-aligned, others left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if column < numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def exact_size(size: int) -> str:
    """Format `size` in bytes and in MiB."""
    return f"{size} bytes ({mebibytes(size)})"


def mebibytes(size: int) -> str:
    """Format `size` bytes in MiB with one decimal, for comparison in one unit."""
    if not size:
        return "0 MiB"
    return f"{size / MIB:.1f} MiB" if size >= MIB // 10 else "< 0.1 MiB"


def json_object(value: DataclassInstance, *, without: str = "") -> dict[str, Any]:
    """Return the fields of a dataclass for JSON in camelCase, except the field `without`."""
    names = (each.name for each in fields(value) if each.name != without)
    return {camel_case(name): _plain(getattr(value, name)) for name in names}


def json_tree(value: object) -> Any:
    """Return a dataclass for JSON with those in its fields; names are in camelCase."""
    if is_dataclass(value):
        return {
            camel_case(each.name): json_tree(getattr(value, each.name)) for each in fields(value)
        }
    match value:
        case Enum():
            return value.value
        case tuple():
            return [json_tree(each) for each in value]
        case Mapping():
            return dict(value)
        case _:
            return value


def blob_json(digest: Digest, size: int) -> dict[str, Any]:
    """Return the digest and size of a blob for JSON."""
    return {"digest": str(digest), "size": size}


def camel_case(name: str) -> str:
    """Return the name of a field as JSON has it."""
    return re.sub(r"_(.)", lambda found: found[1].upper(), name)


def _plain(value: object) -> object:
    match value:
        case None | bool() | int() | str():
            return value
        case Enum():
            return value.value
        case tuple():
            return [*map(_plain, value)]
        case datetime():
            return value.isoformat()
        case _:
            return str(value)
