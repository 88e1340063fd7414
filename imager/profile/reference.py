"""Generate the JSON schema, the reference and the starter profile from the profile model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from imager.profile.model import Profile
from imager.profile.validators import IGNORED

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NULL = {"type": "null"}


def profile_schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of a profile, for editors.

    Unlike the model's own schema, it allows keys without a value, and does not require fields that
    a base profile may provide.
    """
    schema = Profile.model_json_schema(by_alias=True)
    models: dict[str, Any] = {"Profile": schema, **schema["$defs"]}
    for model in models.values():
        for name, field in model.get("properties", {}).items():
            field.pop("title", None)
            model["properties"][name] = _or_null(field)
    for name in ("Profile", "Output"):
        models[name].pop("required", None)
    either = [{"required": ["baseProfileName"]}, {"required": ["output"]}]
    return {"$schema": _DIALECT, **schema, "title": "Profile of imager", "anyOf": either}


def _or_null(field: dict[str, Any]) -> dict[str, Any]:
    kept = ("description", "examples", "default", IGNORED)
    told: dict[str, Any] = {key: field.pop(key) for key in kept if key in field}
    branches = field.pop("anyOf", None) or [field]
    return {**told, "anyOf": branches if _NULL in branches else [*branches, _NULL]}


@dataclass(frozen=True, slots=True)
class FieldReference:
    """The reference of a profile field; `path` are its keys from the top level.

    `values` are the allowed values if there are few. A group of fields has no example and precedes
    its fields.
    """

    path: tuple[str, ...]
    values: tuple[str, ...]
    description: str
    default: str
    example: str
    ignored: bool

    @property
    def name(self) -> str:
        """The keys, separated by dots."""
        return ".".join(self.path)


def reference() -> tuple[FieldReference, ...]:
    """Return all fields of a profile in model order, each after its group."""
    schema = Profile.model_json_schema(by_alias=True)
    return tuple(_fields(schema, schema["$defs"], (), {}))


def _fields(
    model: Mapping[str, Any],
    models: Mapping[str, Any],
    above: tuple[str, ...],
    examples: Mapping[str, Any],
) -> Iterator[FieldReference]:
    for name, schema in model["properties"].items():
        path, group = (*above, name), _model_in(schema, models)
        field = FieldReference(
            path=path,
            values=tuple(map(_shown, _plain(schema).get("enum", ()))),
            # A field without a description has that of its model.
            description=schema.get("description") or (group or {})["description"],
            default=_shown(schema.get("default")),
            example="" if group else _shown(examples.get(name)) or _example(schema, models),
            ignored=IGNORED in schema,
        )
        yield field
        if group and not field.ignored:
            yield from _fields(group, models, path, schema.get("examples", [{}])[0])


def _model_in(schema: Mapping[str, Any], models: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the model of a mapping value; None for a plain value or a list."""
    for branch in (schema, *schema.get("anyOf", ())):
        if name := branch.get("$ref"):
            found: Mapping[str, Any] = models[name.rpartition("/")[2]]
            return found if "properties" in found else None
    return None


def _plain(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the branch of `schema` for a value other than null."""
    return next(branch for branch in schema.get("anyOf", [schema]) if branch != _NULL)


def _example(schema: Mapping[str, Any], models: Mapping[str, Any]) -> str:
    plain = _plain(schema)
    if "examples" in schema:
        return _shown(schema["examples"][0])
    if "enum" in plain:
        default = schema.get("default")
        return _shown(next((each for each in plain["enum"] if each != default), default))
    if plain.get("type") == "array" and (item := _model_in(plain.get("items", {}), models)):
        values = {key: each["examples"][0] for key, each in item["properties"].items()}
        return f"[{{{', '.join(f'{key}: {value}' for key, value in values.items())}}}]"
    return "true" if plain.get("type") == "boolean" else "TEXT"


def _shown(value: object) -> str:
    match value:
        case None | "" | [] | dict():
            return ""
        case list():
            return f"[{', '.join(map(str, value))}]"
        case bool():
            return json.dumps(value)
        case _:
            return str(value)


def reference_table() -> str:
    """Return the reference as a Markdown table, and the names of Talos's other fields."""
    fields = reference()
    rows = [
        f"| `{each.name}` | {_described(each)} | `{each.example}` |"
        for each in fields
        if each.example and not each.ignored
    ]
    ignored = [each.name for each in fields if each.ignored]
    lines = ["| field | what it is | example |", "|---|---|---|", *rows, ""]
    lines += [f"Accepted, without an effect: {_names(ignored)}.", ""]
    return "\n".join(lines)


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _described(field: FieldReference) -> str:
    values = f" One of {_names(list(field.values))}." if len(field.values) > 1 else ""
    default = f" Default: `{field.default}`." if field.default else ""
    return f"{field.description}{values}{default}"


def starter(base: str) -> str:
    """Return a starter profile based on the built-in `base`, with other fields commented out."""
    lines = [
        "# A profile: what to build. `imager ./THIS_FILE` builds it.",
        "# `imager profile reference` lists all fields; `imager profile schema` is for editors.",
        f"baseProfileName: {base}",
    ]
    for field in reference():
        if not field.ignored and field.name != "baseProfileName":
            lines += _commented(field)
    return "\n".join([*lines, ""])


def _commented(field: FieldReference) -> Iterator[str]:
    indent = "  " * (len(field.path) - 1)
    if not indent:
        yield ""
    values = f" One of {', '.join(field.values)}." if len(field.values) > 1 else ""
    yield f"{indent}# {field.description}{values}"
    key = f"{field.path[-1]}:"
    yield f"{indent}# {key} {field.example}" if field.example else f"{indent}{key}"
