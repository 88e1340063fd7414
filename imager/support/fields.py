"""How messages name the fields of a profile, whichever way the user gave them.

Below the command line a message names a field by its key, between backquotes: see `setting`. A
command turns that into the option, where the user gave one, by `renamed`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Location = tuple[str | int, ...]

_SETTING = re.compile(r"`([A-Za-z]+(?:\.[A-Za-z]+)*)(?:: ([^`\n]*))?`", re.ASCII)


def setting(path: str, value: str = "") -> str:
    """Return how a message names the field at `path`, with a value where it says one.

    `path` is YAML's keys with dots between them: `output.imageOptions.diskSize`.
    """
    return f"`{path}: {value}`" if value else f"`{path}`"


def dotted(location: Location) -> str:
    """Return the path of a value of the profile, list indices included."""
    return ".".join(map(str, location))


def renamed(text: str, option: Callable[[str], str | None]) -> str:
    """Return the message `text` with options in place of fields.

    `option` returns the name of the option that stands for the field at a path, None if the user
    knows it by its key.
    """

    def name(found: re.Match[str]) -> str:
        path, value = found.groups()
        known = option(path)
        if known is None:
            return found[0]
        return f"`{known}={value}`" if value else f"`{known}`"

    return _SETTING.sub(name, text)
