"""Format tables and sizes as text, and dataclasses as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

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
    return {camel_case(name): json_value(getattr(value, name)) for name in names}


def json_value(value: object) -> Any:
    """Return a value for JSON: a dataclass as `json_object`, or as its own text if it has one."""
    match value:
        case Enum():
            return value.value
        case None | bool() | int() | str():
            return value
        case tuple():
            return [*map(json_value, value)]
        case Mapping():
            return dict(value)
        case datetime():
            return value.isoformat()
    if type(value).__str__ is not object.__str__ or not is_dataclass(value):
        return str(value)
    return json_object(cast("DataclassInstance", value))


def blob_json(digest: Digest, size: int) -> dict[str, Any]:
    """Return the digest and size of a blob for JSON."""
    return {"digest": str(digest), "size": size}


def camel_case(name: str) -> str:
    """Return the name of a field as JSON has it."""
    return re.sub(r"_(.)", lambda found: found[1].upper(), name)
