"""Run external programs; nothing else starts any."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from imager.support.errors import MissingProgramError, ProgramFailedError
from imager.support.workers import worker_pool

# On Debian an ordinary user's PATH lacks the folders of mkfs and fsck.
_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_STDERR_LINES = 5


def search_path() -> str:
    """Return PATH with the system administration folders appended."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS])


def find_tool(name: str, *, package: str) -> Path:
    """Return the path of program `name`.

    Raises DependencyError, naming the Debian `package` that provides it, if it is missing.
    """
    found = shutil.which(name, path=search_path())
    if found is None:
        raise MissingProgramError(f"{name} is not installed", hint=f"apt-get install {package}")
    return Path(found)


def run_tool(
    argv: Sequence[str | Path],
    *,
    package: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes | Iterable[bytes] = b"",
) -> bytes:
    """Run a program to completion and return its standard output.

    `env` is added to a minimal environment (PATH, LC_ALL=C, TZ=UTC), so that the user's locale
    and time zone cannot affect an output. Raises DependencyError, with the last lines of output,
    if the program is missing or fails, and like `stdin` if it is made on the way.
    """
    name = str(argv[0])
    program = find_tool(name, package=package)
    environment = {"PATH": search_path(), "LC_ALL": "C", "TZ": "UTC", **(env or {})}
    with subprocess.Popen(
        [program, *argv[1:]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=cwd,
    ) as process:
        out, err = _communicated(process, [stdin] if isinstance(stdin, bytes) else stdin)
    if process.returncode != 0:
        said = (err or out).decode(errors="replace").strip().splitlines()
        tail = "; ".join(said[-_STDERR_LINES:]) or "it printed nothing"
        raise ProgramFailedError(f"{name} failed with exit code {process.returncode}: {tail}")
    return out


def _communicated(process: subprocess.Popen[bytes], pieces: Iterable[bytes]) -> tuple[bytes, bytes]:
    """Write `pieces` to a program, and return what it writes meanwhile."""
    pipe = cast("IO[bytes]", process.stdin)
    process.stdin = None  # communicate would close it
    with worker_pool(1, "output") as pool:
        said = pool.submit(process.communicate)
        try:
            # A program that ends early says why by its exit code.
            with suppress(BrokenPipeError), pipe:
                for piece in pieces:
                    pipe.write(piece)
        except BaseException:
            process.kill()
            raise
        return said.result()
