"""Load profiles from YAML: parse, merge with their base, and validate."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from imager.profile.model import Profile
from imager.profile.names import builtin_folder, builtin_names
from imager.profile.validators import shown
from imager.support.errors import InputError, InvalidProfileError
from imager.support.fields import Location, dotted
from imager.support.yamldocs import PARSER_ERRORS, CheckedComposer, yaml_problem
from imager.talos.choices import OutputKind

Layer = Mapping[str, Any]
# Returns the data of the profile with a name.
Bases = Callable[[str], Layer]

LARGEST_PROFILE = 1 << 20
# What a profile must have: merged below the fields of a part of one, it makes them a whole one.
SMALLEST_PROFILE = {"output": {"kind": OutputKind.IMAGE.value}}
_BASE_DEPTH = 8
# Descriptions of wrong values, by pydantic's error type.
_NOT = {
    "model_type": "not a mapping",
    "dict_type": "not a mapping",
    "tuple_type": "not a list",
    "string_type": "not text: put it in quotes",
    "bool_type": "neither true nor false",
    "bool_parsing": "neither true nor false",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)


class _Loader(CheckedComposer, yaml.SafeLoader):
    """A safe loader that rejects aliases, which profiles do not need."""

    def __init__(self, text: str) -> None:
        yaml.SafeLoader.__init__(self, text)
        CheckedComposer.__init__(self)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            parser: Any = self  # PyYAML's types lack peek_event
            mark = parser.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", mark)
        return super().compose_node(parent, index)


def read_builtin(name: str) -> Layer:
    """Return the data of the built-in profile `name`; raises InputError if there is none."""
    if not _NAME.fullmatch(name) or name not in builtin_names():
        close = difflib.get_close_matches(name, builtin_names(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(builtin_names())}"
        raise InputError(f"there is no profile {name!r}", hint=hint)
    return parse_yaml((builtin_folder() / f"{name}.yaml").read_text("utf-8"), source=name)


def parse_yaml(text: str, *, source: str) -> Layer:
    """Parse YAML `text` to a mapping; raises InvalidProfileError naming `source`."""
    if len(text) > LARGEST_PROFILE:
        raise InputError(f"{source}: profile is larger than the 1 MiB limit")
    try:
        # _Loader is a more restrictive SafeLoader.
        data = yaml.load(text, Loader=_Loader)  # noqa: S506
    except PARSER_ERRORS as error:
        raise InvalidProfileError(source, [yaml_problem(error)]) from error
    if not isinstance(data, dict):
        raise InvalidProfileError(source, ["a profile is a YAML mapping with at least `output`"])
    return data


def merge(lower: Layer, upper: Layer) -> dict[str, Any]:
    """Merge `upper` over `lower`: mappings merge, lists append, other values replace."""
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = merge(below, value)
        elif isinstance(below, list) and isinstance(value, list):
            merged[key] = [*below, *value]
        else:
            merged[key] = value
    return merged


def merged(layers: Iterable[Layer]) -> dict[str, Any]:
    """Merge `layers`, each over the previous ones."""
    return functools.reduce(merge, layers, {})


def resolve(layer: Layer, *, source: str, bases: Bases | None = None) -> Layer:
    """Merge `layer` over its base profiles, which `bases` returns; by default the built-in ones.

    A key without a value is ignored. Raises InputError for an unknown base.
    """
    layer = _without_nulls(layer)
    for _ in range(_BASE_DEPTH):
        base = layer.get("baseProfileName")
        if not isinstance(base, str) or not base:
            return layer
        own = {key: value for key, value in layer.items() if key != "baseProfileName"}
        layer = merge((bases or read_builtin)(base), own)
    raise InvalidProfileError(source, ["baseProfileName: the bases go round in a circle"])


def load_profile(
    *layers: Layer,
    source: str,
    name: Callable[[Location], str] = dotted,
    bases: Bases | None = None,
) -> Profile:
    """Merge `layers` and their bases, each over the previous ones, and validate the profile.

    Keys and `bases` are as for `resolve`. Raises InvalidProfileError, naming `source`, with all
    problems. `name` returns the user's name for the value at a location.
    """
    layer: Layer = {}
    for upper in layers:
        layer = merge(layer, resolve(upper, source=source, bases=bases))
    try:
        return Profile.model_validate(layer)
    except ValidationError as error:
        errors = sorted(error.errors(), key=lambda problem: [*map(str, problem["loc"])])
        problems = [_problem(problem, Profile, name) for problem in errors]
        raise InvalidProfileError(source, list(dict.fromkeys(problems))) from None


def _without_nulls(layer: Layer) -> Layer:
    """Drop keys without a value, and keys whose mapping has only such keys."""
    kept = {
        key: _without_nulls(value) if isinstance(value, Mapping) else value
        for key, value in layer.items()
        if value is not None
    }
    return {key: value for key, value in kept.items() if value != {} or layer[key] == {}}


def _problem(
    problem: Mapping[str, Any], model: type[BaseModel], name: Callable[[Location], str]
) -> str:
    path = name(problem["loc"])
    match problem["type"]:
        case "extra_forbidden":
            return f"{path}: unknown key{_did_you_mean(problem['loc'], model)}"
        case "missing":
            return f"{path}: is required"
        case "value_error":
            return f"{path}: {problem['ctx']['error']}"
        case "string_pattern_mismatch":
            return f"{path}: {problem['input']!r} is not one printable kernel argument"
        case kind if kind in _NOT:
            return f"{path}: {shown(problem['input'])} is {_NOT[kind]}"
        case _:
            message = str(problem["msg"])
            return f"{path}: {message.removeprefix('Input ')}, not {shown(problem['input'])}"


def _did_you_mean(location: tuple[str | int, ...], model: type[BaseModel]) -> str:
    current: type[BaseModel] | None = model
    for part in location[:-1]:
        current = submodel_at(current, part) if current else None
    if current is None:
        return ""
    known = [field.alias or name for name, field in current.model_fields.items()]
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f" (did you mean {close[0]}?)" if close else f" (known: {', '.join(known)})"


def submodel_at(model: type[BaseModel], part: str | int) -> type[BaseModel] | None:
    """Return the model of the field with the key `part`; for an index, `model` itself."""
    if isinstance(part, int):
        return model
    for name, field in model.model_fields.items():
        if part == (field.alias or name):
            return _model_in(field.annotation)
    return None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((model for model in found if model), None)
