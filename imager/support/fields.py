"""Names of profile fields in messages, independent of how the user set them.

Code below the command line names a field by its key in backquotes, see `setting`. If the user
gave an option instead, the command replaces the key by the option with `renamed`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Location = tuple[str | int, ...]

_SETTING = re.compile(r"`([A-Za-z]+(?:\.[A-Za-z]+)*)(?:: ([^`\n]*))?`", re.ASCII)


def setting(path: str, value: str = "") -> str:
    """Return the name of the field at `path` for a message, with its value if given.

    `path` is the YAML keys joined with dots: `output.imageOptions.diskSize`.
    """
    return f"`{path}: {value}`" if value else f"`{path}`"


def dotted(location: Location) -> str:
    """Return the dotted path of a profile value, including list indices."""
    return ".".join(map(str, location))


def renamed(text: str, option: Callable[[str], str | None]) -> str:
    """Return the message `text` with field names replaced by options.

    `option` maps the path of a field to its option, or to None if the field keeps its key.
    """

    def name(found: re.Match[str]) -> str:
        path, value = found.groups()
        known = option(path)
        if known is None:
            return found[0]
        return f"`{known}={value}`" if value else f"`{known}`"

    return _SETTING.sub(name, text)
