"""Boots of machines, and what was on their screens."""

from __future__ import annotations

import re
import sys
from contextlib import closing
from pathlib import Path

from tests.lib.machines.console import run_qemu
from tests.lib.machines.hardware import MEMORY, Drive, Firmware, Kernel, SecureFirmware, Setup
from tests.lib.machines.menus import Person
from tests.lib.machines.qemu import BootError, command
from tests.lib.machines.screen import Screen

_TAIL = 2000


def boot(
    *drives: Drive,
    by: Firmware | SecureFirmware | Kernel = Firmware.UEFI,
    arch: str = "amd64",
    memory: int = MEMORY,
    tpm: Path | None = None,
    person: Person | None = None,
    until: str | None = None,
) -> str:
    """Boot a machine and return all that was on its screen, the serial console.

    It is waited for until it is off, or has said what the pattern `until` matches. Raises
    BootError when it or QEMU fails, or says nothing any more; see `Setup`.
    """
    screen = Screen()
    argv = command(Setup(drives, by, arch, memory, tpm))
    with closing(run_qemu(argv, screen, person=person)) as news:
        for _ in news:
            if until and re.search(until, screen.text, re.MULTILINE):
                return screen.text
    if until:
        raise BootError(f"off without a word of {until!r}; {_end(screen.text)}")
    return screen.text


def show_boot(*drives: Drive) -> str:
    """Boot a machine with 1 GiB, print its console until it is off, and return it.

    Raises BootError as `boot` does.
    """
    screen = Screen()
    with closing(run_qemu(command(Setup(drives, memory=1024)), screen)) as news:
        for data in news:
            sys.stdout.write(data.decode(errors="replace"))
            sys.stdout.flush()
    return screen.text


def _end(text: str) -> str:
    return f"the console ends:\n{text[-_TAIL:]}"
