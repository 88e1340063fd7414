"""Define the types of a profile's values: validation and JSON schema."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from imager.support.arch import ARCHES
from imager.support.errors import InputError
from imager.support.units import parse_size
from imager.talos.version import TalosVersion


def _size(value: object) -> int:
    if isinstance(value, str):
        try:
            return parse_size(value)
        except InputError as error:
            raise ValueError(f"{error.message}; {error.hint}") from error
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is not a size; write it as 4GiB, 4GB or bytes")
    return value


def _meta_key(value: object) -> int:
    try:
        key = int(value, 0) if isinstance(value, str) else value
    except ValueError:
        key = None
    if isinstance(key, bool) or not isinstance(key, int) or not 1 <= key <= 255:
        raise ValueError(f"{value!r} is not a META key from 0x1 to 0xff")
    return key


def _version(value: str) -> str:
    if value:
        try:
            TalosVersion.parse(value)
        except InputError as error:
            raise ValueError(error.message) from error
    return value


def _named_arguments(value: str) -> str:
    """Check that no argument begins with `=`, ignoring text in double quotes."""
    if re.search(r"(?:^|\s)=", re.sub(r'"[^"]*"?', "", value)):
        raise ValueError(f"{value!r} has no name before `=`; write it as NAME=VALUE")
    return value


# JSON schema keyword for fields that are accepted but have no effect.
IGNORED = "x-ignored"


@dataclass(frozen=True)
class _Choice:
    """A validator that accepts the values `served`."""

    served: tuple[str | int, ...]

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"enum": list(self.served)}

    def _check(self, value: object) -> object:
        plain = value.value if isinstance(value, enum.Enum) else value
        if plain in self.served and not isinstance(plain, bool):
            return value
        names = ", ".join(map(str, self.served))
        raise ValueError(f"{shown(plain)} is not one of {names}")


def choice(*served: str | int) -> _Choice:
    """Return a validator that accepts `served`."""
    return _Choice(served)


def shown(value: object) -> str:
    """Return the repr of `value` for messages, shortened to 40 characters."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def values_of(kind: type[enum.Enum]) -> tuple[str, ...]:
    """Return the values of `kind`."""
    return tuple(each.value for each in kind)


def unset_if(*values: object) -> BeforeValidator:
    """Return a validator that maps `values`, which Talos prints for unset fields, to None."""
    return BeforeValidator(lambda value: None if value in values else value)


def _word(value: object) -> object:
    """Map False back to `off`: YAML 1.1 parses `off` as a boolean, YAML 1.2 (Talos) does not."""
    return "off" if value is False else value


def _unset_if_blank(value: object) -> object:
    """Map a mapping with only empty values, which Talos prints for unset fields, to None."""
    blank = isinstance(value, Mapping) and value and not any(value.values())
    return None if blank else value


OffIsAWord = BeforeValidator(_word)
IfAny = BeforeValidator(_unset_if_blank)


Size = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema({"type": ["integer", "string"], "minimum": 0}),
]
MetaKey = Annotated[
    int, BeforeValidator(_meta_key), WithJsonSchema({"type": ["integer", "string"]})
]
# Kernel command line arguments: printable, without surrounding spaces.
KernelArgument = Annotated[
    str,
    Field(pattern=r"^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$"),
    AfterValidator(_named_arguments),
]


Arch = Annotated[str, choice(*(arch.name for arch in ARCHES))]
Version = Annotated[str, AfterValidator(_version)]
