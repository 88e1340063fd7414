"""Entry point: runs the command line, turns errors into messages and exit codes."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from imager.errors import ImagerError


def main() -> None:
    """Run `imager` with the arguments of the process, and exit."""
    _open_missing_streams()
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)
    try:
        from imager.cli.app import app

        app()
    except ImagerError as error:
        _fail(error.message, error.hint, error.exit_code)
    except _StoppedError as stop:
        _fail(stop.message, "", stop.exit_code)
    except BrokenPipeError:
        # Who reads our output has gone; flushing it at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ImagerError.exit_code)
    except OSError as error:
        _fail(f"{error.filename or 'input or output'}: {error.strerror or error}", "", 6)


def _open_missing_streams() -> None:
    """Put /dev/null where a standard stream is closed: else an output file gets its number."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        descriptor = os.dup(descriptor)
    os.close(descriptor)
    # typeshed does not tell that they can be None
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


class _StoppedError(BaseException):
    """A signal came: like KeyboardInterrupt, nothing in between may take it for an error."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.message = "interrupted" if number == signal.SIGINT else "terminated"
        self.exit_code = 128 + number


def _stop(number: int, _frame: FrameType | None) -> None:
    """Unwind on a signal, so that temporary files go; a handler itself must not write."""
    signal.signal(number, signal.SIG_IGN)
    raise _StoppedError(number)


def _fail(message: str, hint: str, exit_code: int) -> NoReturn:
    from imager.reporter import printable

    said = f"error: {message}\n" + (f"hint: {hint}\n" if hint else "")
    sys.stderr.write(printable(said))
    with suppress(OSError):
        sys.stdout.flush()
    sys.stderr.flush()
    # Everything is unwound; threads that wait for a silent registry are not waited for.
    os._exit(exit_code)


if __name__ == "__main__":
    main()
