"""Name profile fields in errors and notes as the user set them: by option or by YAML key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from imager.cli.build_options import field_options
from imager.support.errors import ImagerError
from imager.support.fields import Location, dotted, renamed

if TYPE_CHECKING:
    from imager.app.build import Planned


@dataclass(frozen=True, slots=True)
class Naming:
    """The layers of a profile that the user has `written` in YAML and `given` by options.

    `written` is empty for a built-in profile.
    """

    written: Mapping[str, Any]
    given: Mapping[str, Any]

    def of(self, location: Location) -> str:
        """Return the option or the YAML path for the value at `location` of the profile."""
        for length in range(len(location), 0, -1):
            path = dotted(location[:length])
            if path in field_options() and self._by_option(path, location[length:]):
                return field_options()[path]
        return dotted(location)

    def text(self, message: str) -> str:
        """Replace field names in `message` by the options that the user set them with."""
        return renamed(
            message, lambda path: field_options().get(path) if self._is_option(path) else None
        )

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Apply `text` to the errors raised in the block."""
        try:
            yield
        except ImagerError as error:
            error.message, error.hint = self.text(error.message), self.text(error.hint)
            raise

    def notes(self, planned: Planned) -> Planned:
        """Apply `text` to the notes of the plan."""
        notes = tuple(map(self.text, planned.plan.notes))
        return replace(planned, plan=replace(planned.plan, notes=notes))

    def _is_option(self, path: str) -> bool:
        """Whether `path` was set by its option, or there is no YAML that could have set it."""
        return not self.written or _at(self.given, path) is not None

    def _by_option(self, path: str, rest: Location) -> bool:
        """Whether the value at `rest` below `path` is from its option, which appends to lists."""
        written = _at(self.written, path)
        if rest and isinstance(rest[0], int) and isinstance(written, list):
            return rest[0] >= len(written)
        return self._is_option(path)


def _at(layer: Mapping[str, Any], path: str) -> Any:
    value: Any = layer
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
