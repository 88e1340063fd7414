"""The lock: a value that says what a build is made of, and its file in JSON.

A file is read as untrusted input. It is written the same way every time, one value a line, so that
version control shows what moved.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from imager.app.lock.errors import InvalidLockError
from imager.app.lock.inputs import BuildInput, pins_of
from imager.oci.documents import MAX_DOCUMENT, load_json
from imager.oci.pins import Pins
from imager.support.errors import InputError
from imager.support.inputs import input_name, read_input

_MOST_PROBLEMS = 10
_DEEPEST = 16
_Text = Annotated[str, Field(max_length=4096)]


def _shallow(value: Any) -> Any:
    if not _is_shallow(value, _DEEPEST):
        raise ValueError(f"nested more than {_DEEPEST} deep")
    return value


def _is_shallow(value: object, levels: int) -> bool:
    within: Iterable[object] = ()
    if isinstance(value, Mapping):
        within = value.values()
    elif isinstance(value, list):
        within = value
    return levels > 0 and all(_is_shallow(each, levels - 1) for each in within)


_Profile = Annotated[Mapping[str, Any], BeforeValidator(_shallow)]


class Lock(BaseModel):
    """Everything that shapes the bytes of an output, by digest or version."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    lock: Literal[1] = Field(default=1, description="Version of this format.")
    imager: _Text = Field(description="Version of imager.")
    sourceDateEpoch: int | None = Field(  # noqa: N815 - the name in the file
        default=None,
        ge=0,
        lt=1 << 33,
        description="Time in the output, in seconds since 1970; null for a list of images.",
    )
    profile: _Profile | None = Field(
        default=None,
        description="The finished profile without its inputs; null for a list of images.",
    )
    inputs: tuple[BuildInput, ...] = Field(
        default=(), description="Inputs by kind and name, each with its place and digest."
    )
    programs: Mapping[str, _Text] = Field(
        default_factory=dict, description="Versions of the programs that shape the output."
    )
    packages: Mapping[str, _Text] = Field(
        default_factory=dict, description="Versions of the Python packages that shape the output."
    )

    @property
    def pins(self) -> Pins:
        """The digests that references to registries stand for."""
        return pins_of(self.inputs)


def lock_text(lock: Lock) -> str:
    """Return the text of a lock's file."""
    return json.dumps(lock.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def lock_schema() -> dict[str, Any]:
    """Return the JSON schema of a lock's file."""
    schema = Lock.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def read_lock(path: Path) -> Lock:
    """Read a lock's file; raises InvalidLockError with its problems, InputError if unreadable."""
    source = str(path)
    text = read_input(source, what="lock", limit=MAX_DOCUMENT, hint="`imager lock` writes one")
    name = input_name(source)
    try:
        return Lock.model_validate(load_json(text.encode(), where=name))
    except ValidationError as error:
        problems = [_problem(each) for each in error.errors()[:_MOST_PROBLEMS]]
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise InvalidLockError(f"{name} is not a lock of this imager:{listed}") from None
    except InputError as error:
        raise InvalidLockError(error.message) from error


def _problem(problem: Mapping[str, Any]) -> str:
    where = ".".join(map(str, problem["loc"])) or "the whole file"
    return f"{where}: {str(problem['msg']).removeprefix('Value error, ')}"
