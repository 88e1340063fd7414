"""Look up values by dotted path in parsed YAML of arbitrary structure."""

from __future__ import annotations

import re
from collections.abc import Mapping

# A step of a path: a key, or the index of an item.
STEP = re.compile(r"[^.\[\]]+")
_LONGEST_NAME = 253


def value_at(value: object, path: str) -> object:
    """Return the value at `path` (`machine.pods[0].spec`); None if it is missing."""
    for step in STEP.findall(path):
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def text_at(value: object, path: str) -> str:
    """Return the text at the dotted `path`; empty if it is missing or not text.

    Numbers are not converted, since they can be too long to show, nor are lists, which can nest
    too deeply.
    """
    found = value_at(value, path)
    return found if isinstance(found, str) else ""


def fields_at(value: object, path: str) -> Mapping[object, object]:
    """Return the mapping at the dotted `path`; empty if it is missing or not a mapping."""
    found = value_at(value, path)
    return found if isinstance(found, Mapping) else {}


def items_at(value: object, path: str) -> list[object]:
    """Return the list at the dotted `path`; empty if it is missing or not a list."""
    found = value_at(value, path)
    return found if isinstance(found, list) else []


def shown(text: str) -> str:
    """Return a name or key for display, cut to the 253 characters that Kubernetes allows.

    Each finding below it repeats it, so that a name of megabytes would flood the output.
    """
    return text[:_LONGEST_NAME]
