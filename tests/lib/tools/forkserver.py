"""Run `imager` in forked children of a process that has imported all of it.

Starting Python, importing the program and building its command line takes longer than most
commands do. A child is a process of its own all the same: with its own environment, folder, umask,
standard streams, signals and exit code. The server, `python -m tests.lib.tools.forkserver`, ends
when its standard input does, so with the process that started it.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

import typer.main

_REPOSITORY = Path(__file__).resolve().parents[3]
_SECONDS = 60
_LENGTH = struct.Struct("<I")
_STATUS = struct.Struct("<i")
_STREAMS = 3
# What many commands load late, since others do not need it.
_LOADED_LATE = (
    *("pyfatfs.BootSectorHeader", "pyfatfs.EightDotThree", "pyfatfs.FATDirectoryEntry"),
    *("pyfatfs.FSInfo", "pefile", "asn1crypto.keys", "asn1crypto.pem", "cryptography.x509"),
    "cryptography.hazmat.primitives.serialization",
)


@dataclass(frozen=True, slots=True)
class Request:
    """A run: arguments behind the program's name, all of its environment, and its standard streams.

    `streams` are three open files, `umask` is -1 for the server's own.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    umask: int
    streams: tuple[int, int, int]


class ForkServer:
    """A running server; `run` may be called from several threads at once."""

    def __init__(self) -> None:
        self._address = f"\0imager-tests-{os.getpid()}-{time.monotonic_ns()}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.lib.tools.forkserver", self._address[1:]],
            cwd=_REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def __enter__(self) -> Self:
        """Return the server."""
        return self

    def __exit__(self, *_error: object) -> None:
        """End the server; runs that go on are not waited for."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=_SECONDS)

    def run(self, request: Request, *, seconds: float) -> int:
        """Run `request` to its end; return the exit code, that of a signal as a negative number.

        Raises subprocess.TimeoutExpired after `seconds`, the child being killed.
        """
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._address)
            body = json.dumps(
                [[*request.arguments], {**request.environment}, request.folder, request.umask]
            ).encode()
            socket.send_fds(connection, [_LENGTH.pack(len(body))], request.streams)
            connection.sendall(body)
            (pid,) = _STATUS.unpack(_receive(connection, _STATUS.size))
            connection.settimeout(seconds)
            try:
                (status,) = _STATUS.unpack(_receive(connection, _STATUS.size))
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                connection.settimeout(_SECONDS)
                _receive(connection, _STATUS.size)
                raise subprocess.TimeoutExpired(["imager", *request.arguments], seconds) from None
        return os.waitstatus_to_exitcode(status)


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionError("the fork server has ended")
        data += more
    return data


def _serve(address: str) -> NoReturn:
    for module in pkgutil.walk_packages(importlib.import_module("imager").__path__, "imager."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in _LOADED_LATE:
        importlib.import_module(name)
    _build_command_line()
    # Children neither look at what is here already nor, by looking, copy its pages.
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{address}")
    listener.listen(64)
    # Watchers of children end unnoticed.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        readable, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in readable:
            os._exit(0)
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _watch(connection)
        connection.close()


def _build_command_line() -> None:
    """Let typer make its commands of the functions once, instead of in each child."""
    from imager.cli.app import app
    from imager.cli.help import help_pages

    typer.main.get_command = functools.cache(typer.main.get_command)
    # Commands are made when they are first needed.
    list(help_pages(typer.main.get_command(app), "imager"))


def _watch(connection: socket.socket) -> NoReturn:
    """Start the child that a connection asks for, and send its id and at last its status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, streams, _, _ = socket.recv_fds(connection, _LENGTH.size, _STREAMS)
    (length,) = _LENGTH.unpack(head)
    arguments, environment, folder, umask = json.loads(_receive(connection, length))
    request = Request(arguments, environment, folder, umask, (streams[0], streams[1], streams[2]))
    pid = os.fork()
    if pid == 0:
        _become(request)
    for stream in streams:
        os.close(stream)
    connection.sendall(_STATUS.pack(pid))
    _, status = os.waitpid(pid, 0)
    connection.sendall(_STATUS.pack(status))
    os._exit(0)


def _become(request: Request) -> NoReturn:
    """Be the program that was asked for, from its entry point on."""
    for number, stream in enumerate(request.streams):
        os.dup2(stream, number)
    os.closerange(_STREAMS, os.sysconf("SC_OPEN_MAX"))
    os.chdir(request.folder)
    if request.umask >= 0:
        os.umask(request.umask)
    os.environ.clear()
    os.environ.update(request.environment)
    time.tzset()
    sys.argv = ["imager", *request.arguments]
    sys.stdin = _stream(0, "r")
    sys.stdout = _stream(1, "w")
    sys.stderr = _stream(2, "w", buffering=1, errors="backslashreplace")
    try:
        importlib.import_module("imager.__main__").main()
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def _stream(number: int, mode: str, **options: Any) -> Any:
    return open(number, mode, **options)


if __name__ == "__main__":
    _serve(sys.argv[1])
