"""Software TPMs of swtpm: one for a machine in QEMU, one for the host's tpm2-tools."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_SECONDS = 120


@contextmanager
def tpm_of_a_machine() -> Iterator[Path]:
    """Run a new TPM; yields the socket by which QEMU controls it."""
    # The path of a socket has 107 bytes at most, and pytest's folders are long.
    with tempfile.TemporaryDirectory(prefix="tpm-") as folder:
        control = Path(folder, "control")
        with _running(folder, ["--ctrl", f"type=unixio,path={control}"]):
            _wait_for(control.exists)
            yield control


@contextmanager
def tpm_of_the_host() -> Iterator[str]:
    """Run a new TPM that has been started up; yields what tpm2-tools and systemd call it."""
    port = _free_ports()
    with tempfile.TemporaryDirectory(prefix="tpm-") as folder:
        options = [
            *("--server", f"type=tcp,port={port},disconnect"),
            *("--ctrl", f"type=tcp,port={port + 1}"),
            *("--flags", "not-need-init,startup-clear"),
        ]
        with _running(folder, options):
            _wait_for(lambda: _listens(port))
            yield f"swtpm:host=127.0.0.1,port={port}"


@contextmanager
def _running(folder: str, options: Sequence[str]) -> Iterator[None]:
    argv = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}", *options]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


def _free_ports() -> int:
    """Return the first of two ports that are free, one behind the other."""
    for _ in range(100):
        with socket.socket() as first, socket.socket() as second, suppress(OSError, OverflowError):
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            second.bind(("127.0.0.1", port + 1))
            return port
    raise AssertionError("no two free ports")


def _listens(port: int) -> bool:
    # Connecting would be taken for a client that comes and goes.
    listening = f":{port:04X} 00000000:0000 0A"
    return listening in Path("/proc/net/tcp").read_text()


def _wait_for(ready: object) -> None:
    assert callable(ready)
    end = time.monotonic() + _SECONDS
    while not ready():
        assert time.monotonic() < end, "swtpm does not start"
        time.sleep(0.02)
