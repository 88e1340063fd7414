"""JSON documents: parsed with limits from untrusted sources, and written deterministically."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from imager.oci.errors import InvalidImageError
from imager.support.units import MIB, format_size

# The limit of registries for a manifest: distribution/distribution, maxManifestBodySize.
MAX_DOCUMENT = 4 * MIB
_LARGEST_SIZE = 1 << 63


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object and its location for messages; checks the types of fields that it returns.

    Every method raises InputError, naming the field, for a value of another type. An absent or null
    field has the empty value unless the method says that it is required.
    """

    values: Mapping[str, object]
    where: str

    def fail(self, key: str, expected: str) -> NoReturn:
        """Raise InputError: field `key` is not `expected`."""
        raise InvalidImageError(f"{self.where}: {key} must be {expected}")

    def text(self, key: str) -> str:
        """Return a string, empty when absent."""
        value = self.values.get(key)
        if value is None:
            return ""
        return value if isinstance(value, str) else self.fail(key, "a string")

    def size(self, key: str) -> int:
        """Return a required number of bytes: an integer from 0 to 2^63 - 1."""
        value = self.values.get(key)
        # In Python, unlike JSON, a boolean is an int.
        if type(value) is not int or not 0 <= value < _LARGEST_SIZE:
            self.fail(key, "a non-negative number of bytes")
        return value

    def child(self, key: str) -> Fields | None:
        """Return an object, None when absent."""
        value = self.values.get(key)
        return None if value is None else fields_of(value, f"{self.where}: {key}")

    def items(self, key: str) -> tuple[object, ...]:
        """Return the entries of a list, empty when absent."""
        value = self.values.get(key)
        if value is None:
            return ()
        return tuple(value) if isinstance(value, list) else self.fail(key, "a list")

    def children(self, key: str) -> tuple[Fields, ...]:
        """Return a list of objects, empty when absent."""
        return tuple(
            fields_of(item, f"{self.where}: {key}[{index}]")
            for index, item in enumerate(self.items(key))
        )

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings, empty when absent."""
        items = self.items(key)
        texts = tuple(item for item in items if isinstance(item, str))
        return texts if len(texts) == len(items) else self.fail(key, "a list of strings")


def fields_of(value: object, where: str) -> Fields:
    """Return the fields of a JSON object; raises InputError for any other value."""
    if not isinstance(value, dict):
        raise InvalidImageError(f"{where} must be a JSON object")
    return Fields(value, where)


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    # With duplicate keys, two readers could see two different images.
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("an object has a duplicate key")
    return values


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON does not allow {name}")


def load_json(raw: bytes, *, where: str) -> object:
    """Parse a JSON document (RFC 8259, UTF-8).

    Raises InputError when it is larger than 4 MiB, does not parse, nests too deeply, has duplicate
    keys, or contains a number that JSON does not allow.
    """
    if len(raw) > MAX_DOCUMENT:
        raise InvalidImageError(f"{where} is larger than {format_size(MAX_DOCUMENT)}")
    try:
        return json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise InvalidImageError(f"{where} is not valid JSON: {error}") from error


def load_fields(raw: bytes, *, where: str) -> Fields:
    """Parse a JSON document that is an object; raises InputError as `load_json`."""
    return fields_of(load_json(raw, where=where), where)


def dump_json(value: object) -> bytes:
    """Serialize `value` as compact ASCII JSON, keys in the given order, deterministically."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")
