"""Read the mappings of a document field by field, and collect problems instead of raising."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from imager.support.screen import one_line
from imager.support.yamldocs import LocatedDocument
from imager.support.yamlpaths import value_at

_LONGEST_WORD = 40
_MOST_UNKNOWN = 20


@dataclass(frozen=True, slots=True, order=True)
class LineProblem:
    """A problem at a line and a column, from 1; column 0 is the whole line."""

    line: int
    text: str
    column: int = 0

    def located(self, source: str) -> str:
        """Return the problem as printed, with its place in the file `source`."""
        column = f":{self.column}" if self.column else ""
        return f"{source}:{self.line}{column}: {self.text}"


@dataclass(frozen=True, slots=True)
class FieldReader:
    """The mapping at `path` in the document `name`; an empty path is the root.

    Problems are appended to `problems`, which the sections of all documents share.
    """

    document: LocatedDocument
    name: str
    problems: list[LineProblem]
    path: str = ""

    def report(self, problem: str, *, key: str = "", offset: int | None = None) -> None:
        """Report a problem with the field `key`, or with the section itself.

        With `offset`, the problem is at that character of the scalar.
        """
        path = self._path(key)
        line, column = self.document.line(path), 0
        if offset is not None:
            line, column = self.document.place(path, offset)
        text = f"{self.name}: {path}: {problem}" if path else f"{self.name}: {problem}"
        self.problems.append(LineProblem(line, one_line(text), column))

    def line(self, key: str = "") -> int:
        """Return the line of the field `key`, or of the section itself."""
        return self.document.line(self._path(key))

    def section(self, key: str) -> FieldReader:
        """Return the mapping `key`, empty if it is missing; report any other value."""
        inner = replace(self, path=self._path(key))
        if not isinstance(inner._value(), Mapping | None):
            inner.report("is not a mapping")
        return inner

    def sections(self, key: str) -> list[FieldReader]:
        """Return the mappings in the list `key`, none if it is missing; report any other value."""
        items = self._value(key)
        if not isinstance(items, list | None):
            self.report("is not a list", key=key)
            return []
        return [self.section(f"{key}[{number}]") for number in range(len(items or ()))]

    def has(self, key: str) -> bool:
        """Whether there is a field `key` that is not null."""
        return self._value(key) is not None

    def flag(self, key: str) -> bool | None:
        """Return the field `key`, None if it is missing; report a value that is not a boolean."""
        value = self._value(key)
        if isinstance(value, bool | None):
            return value
        self.report("is not true or false", key=key)
        return None

    def text(self, key: str) -> str:
        """Return the scalar `key` as written, empty if it is missing; report any other value."""
        written = self.document.written(self._path(key))
        if written is None and self.has(key):
            self.report("is not a single value", key=key)
        return written or ""

    def require_known(self, known: Iterable[str]) -> None:
        """Report every field that is not in `known`: Talos rejects unknown fields."""
        value = self._value()
        names = list(known)
        keys = value if isinstance(value, Mapping) else ()
        words = (key if isinstance(key, str) else "?" for key in keys if key not in names)
        for word in islice(words, _MOST_UNKNOWN):
            close = difflib.get_close_matches(word[:_LONGEST_WORD], names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"
            self.report(f"unknown field ({hint})", key=word[:_LONGEST_WORD])

    def _path(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path and key else self.path or key

    def _value(self, key: str = "") -> object:
        path = self._path(key)
        return value_at(self.document.value, path) if path else self.document.value
