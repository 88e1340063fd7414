"""Standard output and error: always open, and named in messages about failed writes."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

from imager.support.errors import OutputError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


_STDOUT, _STDERR = 1, 2


class _Standard(io.FileIO):
    """A standard stream. A failed write ends the run, unless it is to standard error."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            if self.fileno() == _STDERR:
                return memoryview(data).nbytes
            raise OutputError(
                f"cannot write to standard output: {error.strerror}",
                hint="free space at its destination, or redirect it elsewhere",
            ) from error


def open_streams() -> None:
    """Replace the standard streams by those of this module, and open closed ones.

    Otherwise an output file could get the descriptor of a closed stream.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= _STDERR:
        descriptor = os.dup(descriptor)
    os.close(descriptor)
    # typeshed does not declare that they can be None.
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = _over(
        _Standard(_STDOUT, "w", closefd=False),
        sys.stdout,
        by_line=bool(os.environ.get("PYTHONUNBUFFERED")),
    )
    sys.stderr = _over(_Standard(_STDERR, "w", closefd=False), sys.stderr, by_line=True)


class _Stream(io.TextIOWrapper):
    """Keeps a reference to the replaced stream, whose deletion would close the descriptor."""

    replaced: TextIO | None = None


def _over(raw: io.FileIO, stream: TextIO | None, *, by_line: bool) -> TextIO:
    """Return a stream over `raw` with the other settings of `stream`."""
    made = _Stream(
        io.BufferedWriter(raw),
        encoding=stream.encoding if stream else None,
        errors=stream.errors if stream else None,
        line_buffering=by_line or bool(stream and stream.line_buffering),
    )
    made.replaced = stream
    return made
