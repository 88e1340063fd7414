"""Run a foreign executable with no network and no files but those it is given (bubblewrap).

It runs as an ordinary user in namespaces of its own, and ends with this process. An executable of
another architecture is run by qemu-user.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imager.support.arch import AMD64, ARM64, Arch
from imager.support.tools import find_tool, run_tool

_MACHINES = {"x86_64": AMD64, "aarch64": ARM64}
_EMULATORS = {AMD64: "qemu-x86_64-static", ARM64: "qemu-aarch64-static"}
_EMULATOR = "/emulator"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What an executable may see: paths inside, and the files and folders that they are."""

    readable: Mapping[str, Path]
    writable: Mapping[str, Path]

    def run(self, *command: str, arch: Arch, stdin: bytes) -> bytes:
        """Run the executable of `arch` at a path inside, with arguments; return what it prints.

        Raises DependencyError, with its last lines, if it fails or cannot be run.
        """
        binds: list[str | Path] = []
        for inside, outside in self.readable.items():
            binds += ["--ro-bind", outside, inside]
        for inside, outside in self.writable.items():
            binds += ["--bind", outside, inside]
        emulator: list[str] = []
        if arch != host_arch():
            program = find_tool(_EMULATORS[arch], package="qemu-user-static")
            binds += ["--ro-bind", program.resolve(), _EMULATOR]
            emulator = [_EMULATOR]
        return run_tool(
            [
                *("bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"),
                *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),  # noqa: S108
                *binds,
                *("--chdir", "/", "--"),
                *(*emulator, *command),
            ],
            package="bubblewrap",
            stdin=stdin,
        )


def host_arch() -> Arch | None:
    """Return the architecture of this machine; None if outputs do not exist for it."""
    return _MACHINES.get(platform.machine())
