"""Questions to Talos's own Go modules, which the program of tests/talos_oracle answers.

`make talos-oracle` builds it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from tests.lib.tools.cli import REPOSITORY

# The release of the modules.
RELEASE = "v1.13.0"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the modules make of a question: a result, or an error for a person."""

    result: Any
    error: str

    @property
    def is_right(self) -> bool:
        """Whether there is no error."""
        return not self.error


@dataclass(frozen=True, slots=True)
class TalosModules:
    """The program, which answers one question after another."""

    stdin: IO[str]
    stdout: IO[str]

    def ask(self, name: str, **fields: object) -> Answer:
        """Return the answer to a question of that name."""
        print(json.dumps({"ask": name, **fields}), file=self.stdin, flush=True)
        said = json.loads(self.stdout.readline())
        return Answer(said.get("result"), said.get("error", ""))


@contextmanager
def talos_modules() -> Iterator[TalosModules]:
    """Run the program while the context lasts."""
    program = REPOSITORY / ".cache/tools/talos-oracle/talos-oracle"
    assert program.exists(), "there is no talos-oracle in .cache/tools: run `make talos-oracle`"
    with subprocess.Popen(
        [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        yield TalosModules(process.stdin, process.stdout)
        process.stdin.close()
