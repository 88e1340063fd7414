"""Entry point: runs the command line, turns errors into messages and exit codes."""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from imager.support.errors import HostError, ImagerError, exit_code_of, is_denied, kind_of
from imager.support.streams import open_streams

_NO_READER = 128 + signal.SIGPIPE
# A small build makes 75,000 objects, mostly by loading modules, and nearly all of them stay. With
# Python's own threshold of 700 they are searched for garbage a hundred times: 20 ms.
_OBJECTS_PER_COLLECTION = 100_000
_REPORT = "this is a bug in imager: please report it with all of the lines above"


def main() -> NoReturn:
    """Run `imager` with the arguments of the process, and exit."""
    gc.set_threshold(_OBJECTS_PER_COLLECTION)
    # Pydantic would search all installed packages for plugins, which no profile may depend on.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    open_streams()
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)
    # nohup(1) has it ignored.
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _stop)
    try:
        exit_code = _run()
    except ImagerError as error:
        _fail(error.message, _hint(error), exit_code_of(error), kind_of(error))
    except _SignalledError as stop:
        _fail(stop.message, "", stop.exit_code)
    except BrokenPipeError:
        # Who reads our output has gone; flushing it at exit must not fail again.
        _exit(_NO_READER)
    except OSError as error:
        message = f"{error.filename or 'input or output'}: {error.strerror or error}"
        _fail(message, _hint(error), exit_code_of(error), kind_of(error))
    except Exception as error:
        import traceback

        traceback.print_exc()
        kind = type(error).__name__
        _fail(f"internal error: {kind}: {error}", _REPORT, ImagerError.exit_code)
    _exit(exit_code)


def _hint(error: ImagerError | OSError) -> str:
    if is_denied(error) and not isinstance(error, HostError):
        return (
            f"user {os.geteuid()} needs permission: see who owns it, and the folders that it is in"
        )
    return error.hint if isinstance(error, ImagerError) else ""


def _run() -> int:
    from typer.exceptions import TyperException

    from imager.cli.app import app
    from imager.cli.commands import usage_error

    try:
        exit_code = app(prog_name="imager", standalone_mode=False)
        sys.stdout.flush()
    except SystemExit as end:
        sys.stdout.flush()
        # What typer makes of a broken pipe.
        return _NO_READER if isinstance(end.__context__, BrokenPipeError) else int(end.code or 0)
    except TyperException as error:
        raise usage_error(error) from None
    except Exception as error:
        # What fails while a signal unwinds is not what ended the run.
        if stop := _stop_behind(error):
            raise stop from None
        raise
    return int(exit_code or 0)


def _stop_behind(error: BaseException) -> _SignalledError | None:
    """Return the signal during whose unwinding `error` was raised, if there was one."""
    context = error.__context__
    while context is not None and not isinstance(context, _SignalledError):
        context = context.__context__
    return context


class _SignalledError(BaseException):
    """A signal came: like KeyboardInterrupt, nothing in between may take it for an error."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.message = _SIGNALS[number]
        self.exit_code = 128 + number


_SIGNALS: dict[int, str] = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "terminated, since the terminal was closed",
}


def _stop(number: int, _frame: FrameType | None) -> None:
    """Unwind on a signal, so that temporary files go; a handler itself must not write."""
    signal.signal(number, signal.SIG_IGN)
    raise _SignalledError(number)


def _fail(
    message: str, hint: str, exit_code: int, kind: type[ImagerError] = ImagerError
) -> NoReturn:
    from imager.support.screen import Tone, labelled

    sys.stderr.write(labelled(Tone.ERROR, message, sys.stderr) + "\n")
    if hint:
        sys.stderr.write(labelled(Tone.HINT, hint, sys.stderr) + "\n")
    if ImagerError not in (kind, *kind.__bases__):  # general kinds explain nothing more
        sys.stderr.write(labelled(Tone.MORE, f"imager explain {kind.id}", sys.stderr) + "\n")
    with suppress(OSError, ImagerError):
        sys.stdout.flush()
    _exit(exit_code)


def _exit(exit_code: int) -> NoReturn:
    """End the process now: everything is unwound, and outputs have been flushed.

    Taking all modules down would last longer than many a command, and threads that wait for a
    silent registry are not waited for.
    """
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(exit_code)


if __name__ == "__main__":
    main()
