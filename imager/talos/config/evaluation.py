"""Evaluate a disk selector in a child process with limited time and memory.

An expression of a few hundred characters can double a text thirty times; CEL itself has no limit
for that. The child is a fork with the libraries already loaded, and does nothing else.
"""

from __future__ import annotations

import json
import os
import resource
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imager.talos.config.cel import ExpressionError, compiled, evaluate
from imager.talos.config.disk import Disk

_SECONDS = 5
_MEMORY = 1 << 30  # in addition to the current size


def evaluate_limited(text: str, disks: Sequence[Disk], *, system_disk: str) -> list[bool]:
    """Return for each disk whether the expression `text` is true for it.

    `system_disk` is the path of the system disk, or empty. Raises ExpressionError if the
    expression is invalid, fails, or needs more than 5 s of CPU time or 1 GiB.
    """
    compiled(text)  # loads the libraries before the fork
    reader, writer = os.pipe()
    child = _fork()
    if child == 0:
        _answer(writer, text, disks, system_disk)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    if not said:
        raise ExpressionError(
            f"evaluation takes more than {_SECONDS} s of CPU time or 1 GiB of memory"
        )
    answer: Any = json.loads(said)
    if isinstance(answer, str):
        raise ExpressionError(answer)
    return [bool(each) for each in answer]


def _fork() -> int:
    with warnings.catch_warnings():
        # Python warns that a fork may deadlock on locks of other threads: the child takes none.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _answer(writer: int, text: str, disks: Sequence[Disk], system_disk: str) -> None:
    """Write the result or an error message, then exit; writes nothing if that fails."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + _MEMORY)
        _limit(resource.RLIMIT_CPU, _SECONDS)
        _limit(resource.RLIMIT_CORE, 0)
        try:
            answer: object = evaluate(text, disks, system_disk=system_disk)
        except ExpressionError as error:
            answer = error.message
        os.write(writer, json.dumps(answer).encode())
    finally:
        os._exit(0)


def _limit(what: int, most: int) -> None:
    """Set a soft limit, unless the current one is lower."""
    soft, hard = resource.getrlimit(what)
    lower = [each for each in (soft, hard) if each != resource.RLIM_INFINITY]
    resource.setrlimit(what, (min([most, *lower]), hard))
