"""Evaluates a disk selector in a process of its own, with a limit on time and memory.

An expression of a few hundred characters can double a text thirty times; CEL itself has no limit
for that. The process reads a request from standard input and writes the answer to standard
output, both JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict

from imager.errors import DependencyError
from imager.machineconfig.celenv import ExpressionError, evaluate
from imager.machineconfig.disk import Disk
from imager.tools import run_tool

_SECONDS = 5
_MEMORY = 1 << 30
_LISTS = ("secondary_disks", "symlinks")


def evaluate_limited(text: str, disks: Sequence[Disk], *, system_disk: str) -> list[bool]:
    """Return for each disk whether the expression `text` is true for it.

    `system_disk` is the path of the system disk, or empty. Raises ExpressionError when the
    expression is invalid, fails, or takes more than 5 s of processor time or 1 GiB.
    """
    request = {"text": text, "disks": [asdict(disk) for disk in disks], "system_disk": system_disk}
    try:
        answer = run_tool(
            [sys.executable, "-m", __name__],
            package="python3",
            # The process must find the modules that this one has found.
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=json.dumps(request).encode(),
        )
    except DependencyError as error:
        raise ExpressionError(
            f"evaluation takes more than {_SECONDS} s of processor time or 1 GiB of memory"
        ) from error
    said = json.loads(answer)
    if "error" in said:
        raise ExpressionError(said["error"], line=said["line"], column=said["column"])
    return [bool(each) for each in said["matches"]]


def main() -> None:
    """Answer one request."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    request = json.load(sys.stdin)
    disks = [
        Disk(**{**disk, **{name: tuple(disk[name]) for name in _LISTS}})
        for disk in request["disks"]
    ]
    try:
        matches = evaluate(request["text"], disks, system_disk=request["system_disk"])
        answer: dict[str, object] = {"matches": matches}
    except ExpressionError as error:
        answer = {"error": error.message, "line": error.line, "column": error.column}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
