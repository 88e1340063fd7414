"""The one place that starts external programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from imager.support.errors import MissingProgramError, ProgramFailedError

# An ordinary user's PATH on Debian lacks the folders of mkfs and fsck.
_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_STDERR_LINES = 5


def search_path() -> str:
    """Return PATH with the system administration folders behind it."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS])


def find_tool(name: str, *, package: str) -> Path:
    """Return the path of program `name`.

    Raises DependencyError, naming the Debian `package` that has it, when it is missing.
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
    stdin: bytes = b"",
) -> bytes:
    """Run a program to its end and return its standard output.

    `env` is added to a minimal environment (PATH, LC_ALL=C, TZ=UTC), so that the user's locale
    and time zone cannot reach an output. Raises DependencyError when the program is missing or
    fails, with the last lines it wrote.
    """
    name = str(argv[0])
    program = find_tool(name, package=package)
    environment = {"PATH": search_path(), "LC_ALL": "C", "TZ": "UTC", **(env or {})}
    done = subprocess.run(
        [program, *argv[1:]],
        input=stdin,
        capture_output=True,
        env=environment,
        cwd=cwd,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        tail = "; ".join(said[-_STDERR_LINES:]) or "it said nothing"
        raise ProgramFailedError(f"{name} failed with exit code {done.returncode}: {tail}")
    return done.stdout
