"""`imager images cache-serve` as a process, and what tests ask of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from tests.lib.tools.cli import IMAGER, environment, run

# How long a test waits for what does not come, in seconds. A mutant keeps many things from coming.
TIMEOUT = float(os.environ.get("IMAGER_TEST_TIMEOUT", "60"))
_READY = re.compile(r"serving on (https?)://(.+):([0-9]+)")


@dataclass(frozen=True, slots=True)
class Server:
    """A running server; `log` has what it says on standard error, in JSON lines."""

    process: subprocess.Popen[bytes]
    scheme: str
    port: int
    log: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}"

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def texts(self, kind: str) -> list[str]:
        """Return what the server has said in events of a kind, `step` or `warning`."""
        return [event["text"] for event in self.events if event["event"] == kind]

    def requests(self) -> list[dict[str, Any]]:
        """Return the access log."""
        return [event for event in self.events if event["event"] == "request"]

    def wait_for(self, text: str) -> None:
        """Wait until the server has said `text`."""
        deadline = time.monotonic() + TIMEOUT
        while text not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def memory(self) -> int:
        """Return the most bytes of memory that the process has had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) << 10

    def ask(
        self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> urllib3.BaseHTTPResponse:
        """Send a request of its own connection and return the answer, read."""
        with urllib3.PoolManager(retries=False, timeout=TIMEOUT) as pool:
            return pool.request(method, self.url + path, headers=headers)

    def send(self, data: bytes) -> bytes:
        """Send bytes, which may be no HTTP, and return all that comes until the end."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_all(connection)

    def connect(self) -> socket.socket:
        """Return a new connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)


def read_all(connection: socket.socket) -> bytes:
    """Return what comes over `connection` until its end, be it a reset."""
    data = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(1 << 20):
            data += piece
    return bytes(data)


@contextlib.contextmanager
def serving(
    *args: str | Path,
    prefix: Sequence[str | Path] = (),
    env: Mapping[str, str] | None = None,
    address: str = "127.0.0.1:0",
    style: str = "json",
    cwd: Path | None = None,
) -> Iterator[Server]:
    """Serve caches while the block runs, on a port that is free; end it by SIGTERM.

    It runs in `cwd`, by default an empty folder.
    """
    with tempfile.TemporaryDirectory(prefix="serving-") as folder:
        log = Path(folder, "log")
        with log.open("wb") as stream:
            options = ("--address", address, "--progress", style)
            process = subprocess.Popen(
                [*prefix, *IMAGER, "images", "cache-serve", *args, *options],
                env=environment(env),
                cwd=cwd or folder,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )
        try:
            yield Server(process, *_ready(process, log), log)
        finally:
            stop(process)


def _ready(process: subprocess.Popen[bytes], log: Path) -> tuple[str, int]:
    deadline = time.monotonic() + TIMEOUT
    while not (found := _READY.search(log.read_text())):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
    return found[1], int(found[3])


def stop(process: subprocess.Popen[bytes]) -> int:
    """End the process, as systemd does; return its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=TIMEOUT)
        finally:
            process.kill()
    return process.wait(timeout=TIMEOUT)


def generate_certificates(folder: Path, *args: str) -> Path:
    """Have `images cache-cert-gen` make an authority and a server's certificate in `folder`."""
    done = run("images", "cache-cert-gen", *args, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def tls_options(folder: Path) -> tuple[str | Path, ...]:
    """Return the options to serve with the certificate of `generate_certificates`."""
    return ("--tls-cert-file", folder / "tls.crt", "--tls-key-file", folder / "tls.key")
