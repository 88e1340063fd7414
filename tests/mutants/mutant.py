"""A mutant: a break of one line, and the test that must notice it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old`, which stands once in `file`, becomes `new`; `test` must then fail."""

    what: str
    file: str
    old: str
    new: str
    test: str

    @property
    def files(self) -> tuple[str, str]:
        """The file that is broken, and that of the test."""
        return self.file, self.test.partition("::")[0]
