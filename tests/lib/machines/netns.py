"""A network that has nothing but its loopback, for programs that must need no other."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

_TIMEOUT = 60


@contextlib.contextmanager
def lonely_network() -> Iterator[tuple[str, ...]]:
    """Yield what to put before a program's arguments for it to run in a network of its own."""
    assert os.geteuid() == 0, "a network of its own needs root"
    script = "ip link set lo up && echo up && exec cat"
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == b"up\n", "no network: apt-get install iproute2"
            yield ("nsenter", f"--net=/proc/{holder.pid}/ns/net", "--")
        finally:
            holder.stdin.close()
            try:
                holder.wait(timeout=_TIMEOUT)
            finally:
                holder.kill()
