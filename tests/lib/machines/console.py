"""A run of QEMU and its serial console: the only place that starts QEMU for a program.

How long it takes is not looked at, since machines differ and have other work: a machine is ended
when it says nothing any more.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lib.machines.menus import Impatient, Person
from tests.lib.machines.qemu import BootError
from tests.lib.machines.screen import Screen

# What a machine says that will not go on: Linux, UEFI firmware, SeaBIOS, GRUB.
_DEAD_ENDS = (
    "Kernel panic - not syncing",
    "BdsDxe: No bootable option",
    "UEFI Interactive Shell",
    "No bootable device.",
    "grub rescue> ",
    "grub> ",
)
_TAIL = 2000
_LOOK_SECONDS = 1.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a machine may say nothing: in seconds of QEMU's work, and of the clock.

    The longest such time of any test is 15 seconds of work.
    """

    work: float = 150
    clock: float = 900


_PATIENCE = Patience()


def run_qemu(
    argv: Sequence[str],
    screen: Screen,
    *,
    person: Person | None = None,
    patience: Patience = _PATIENCE,
) -> Generator[bytes]:
    """Run QEMU and yield its serial console as it comes, drawn on `screen`, until it is off.

    `person` hits keys, if not just Enter in boot menus. Raises BootError when the machine says
    nothing for longer than `patience`, and when it or QEMU fails. QEMU ends with the iterator.
    """
    person = person or Impatient()
    with _running(argv) as qemu:
        assert qemu.stdin is not None
        for data in _said(qemu, screen, patience):
            screen.feed(data)
            if keys := person.keys(screen):
                qemu.stdin.write(keys)
            yield data
            if any(words in f"{screen.now} " for words in _DEAD_ENDS):
                raise BootError(f"the machine does not go on; {_end(screen)}")
        if qemu.wait() != 0:
            raise BootError(f"QEMU ended with exit code {qemu.returncode}; {_end(screen)}")


def _end(screen: Screen) -> str:
    return f"the console ends:\n{screen.text[-_TAIL:]}"


@contextmanager
def _running(argv: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run QEMU meanwhile; it is gone afterwards, whatever happened."""
    process = subprocess.Popen(
        [*argv, "-serial", "stdio"],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _said(qemu: subprocess.Popen[bytes], screen: Screen, patience: Patience) -> Iterator[bytes]:
    """Yield what QEMU writes until it ends."""
    assert qemu.stdout is not None
    work, clock = 0.0, time.monotonic()
    while True:
        if select.select([qemu.stdout], [], [], min(_LOOK_SECONDS, patience.clock))[0]:
            data = qemu.stdout.read(1 << 16)
            if not data:
                return
            work, clock = _work_of(qemu), time.monotonic()
            yield data
        elif _work_of(qemu) - work > patience.work or time.monotonic() - clock > patience.clock:
            raise BootError(f"nothing said for long, and not off; {_end(screen)}")


def _work_of(process: subprocess.Popen[bytes]) -> float:
    """Return the seconds that a process has worked."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
