"""Places in a document: a path for messages, the keys for rules, and the line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from imager.discover.manifesttext import line_of
from imager.support.yamlpaths import shown

_MOST_KEYS = 5
_LONGEST_PATH = 500


@dataclass(frozen=True, slots=True)
class Location:
    """A place below `parent`; its full path is only built when it is printed.

    `keys` are the last keys of the path, without list indices; `line` is 0 if unknown.
    """

    parent: Location | None = None
    step: str = ""
    keys: tuple[str, ...] = ()
    line: int = 0

    @property
    def key(self) -> str:
        """The last key."""
        return self.keys[-1] if self.keys else ""

    @property
    def path(self) -> str:
        """The path as messages print it: `spec.containers[0].image`."""
        steps: list[str] = []
        length = 0
        location: Location | None = self
        while location is not None and length < _LONGEST_PATH:
            steps.append(location.step)
            length += len(location.step)
            location = location.parent
        return "".join(reversed(steps)).removeprefix(".")

    def at_key(self, key: object) -> Location:
        """Return the place of a mapping's value for `key`."""
        word = shown(key) if isinstance(key, str) else "?"
        return Location(self, f".{word}", (*self.keys, word)[-_MOST_KEYS:], line_of(key, self.line))

    def at_value(self, fields: Mapping[object, object], key: object) -> Location:
        """Return the place of the value for `key` of `fields`, with the line of that value."""
        place = self.at_key(key)
        return replace(place, line=place.line_of(fields.get(key)))

    def at_index(self, index: int) -> Location:
        """Return the place of list item `index`, from 0."""
        return Location(self, f"[{index}]", self.keys, self.line)

    def named(self, name: object) -> Location:
        """Return this place with `name`, of a variable or option, as its last key."""
        return replace(self, keys=(*self.keys, shown(name) if isinstance(name, str) else "?"))

    def ends_with(self, *paths: str) -> bool:
        """Whether the keys end with one of the dotted `paths`."""
        keys = "." + ".".join(self.keys)
        return any(keys.endswith(f".{path}") for path in paths)

    def line_of(self, value: object) -> int:
        """Return the line of the value at this place."""
        return line_of(value, self.line)
