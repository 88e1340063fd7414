"""Entry point: runs the command line, turns errors into messages and exit codes."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from imager.errors import ImagerError

_EXIT_INTERRUPTED = 130
_EXIT_TERMINATED = 143


def main() -> None:
    """Run `imager` with the arguments of the process, and exit."""
    _open_missing_streams()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        from imager.cli.app import app

        app()
    except ImagerError as error:
        _fail(error.message, error.hint, error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", "", _EXIT_INTERRUPTED)
    except _TerminatedError:
        _fail("terminated", "", _EXIT_TERMINATED)
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


class _TerminatedError(BaseException):
    """SIGTERM came: like KeyboardInterrupt, nothing in between may take it for an error."""


def _terminate(_number: int, _frame: FrameType | None) -> None:
    """Unwind on SIGTERM, so that temporary files go; a handler itself must not write."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _TerminatedError


def _fail(message: str, hint: str, exit_code: int) -> None:
    from imager.reporter import printable

    said = f"error: {message}\n" + (f"hint: {hint}\n" if hint else "")
    sys.stderr.write(printable(said))
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
