"""Download Python packages for the node, as wheels from PyPI, into a cache.

The lock `node/wheels-<arch>.txt`, a pip requirements file, pins each by version and SHA-256. pip
only downloads them: a wheel is a ZIP archive of importable files
(https://packaging.python.org/en/latest/specifications/binary-distribution-format/).
"""

from __future__ import annotations

import os
import re
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from imager.content.extents import Content
from imager.content.reading import hash_content
from imager.content.tree import check_path
from imager.distro.errors import UnusablePackageError
from imager.distro.packages import FetchContext
from imager.support.arch import Arch
from imager.support.errors import DependencyError, InputError
from imager.support.folders import ensure_folder
from imager.support.partials import partial_folder
from imager.support.tools import find_tool, run_tool

PYTHON = "3.11"
_PIP_PACKAGE = "python3-pip"
# Wheels for a glibc newer than 2.36 do not run on Debian bookworm.
_GLIBCS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_PIN = re.compile(r"([a-z0-9-]+)==([0-9a-z.]+) --hash=sha256:([0-9a-f]{64})", re.ASCII)
_FROM_CALLER = re.compile(r"(?:pip|ssl|xdg)_\w+|requests_ca_bundle|home|\w+_proxy", re.IGNORECASE)
_LARGEST_FILE = 64 << 20


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel by name, version and hash; `sha256` in hexadecimal."""

    name: str
    version: str
    sha256: str


def locked_wheels(arch: Arch) -> tuple[Wheel, ...]:
    """Return the wheels of the lock for `arch`; raises ValueError for a line that is not a pin."""
    lines = (files(__package__) / f"node/wheels-{arch.name}.txt").read_text().splitlines()
    return tuple(_parse(line) for line in lines if line and not line.startswith("#"))


def _parse(line: str) -> Wheel:
    found = _PIN.fullmatch(line)
    if found is None:
        raise ValueError(f"{line!r} pins no wheel")
    return Wheel(*found.groups())


def get_wheels(wheels: Sequence[Wheel], arch: Arch, context: FetchContext) -> tuple[Path, ...]:
    """Return the files of `wheels`, downloading with pip those that are not cached.

    Raises DependencyError if pip is missing or fails.
    """
    cache = context.cache
    ensure_folder(cache)
    missing = [wheel for wheel in wheels if not _is_there(cache, wheel)]
    if missing:
        waiting = context.waiting(f"Downloading {len(missing)} Python packages")
        with waiting, partial_folder(cache / "wheels") as folder:
            _download(missing, arch, folder)
            for path in folder.glob("*.whl"):
                path.replace(cache / f"{_sha256(path)}.whl")
    for wheel in wheels:
        if not _is_there(cache, wheel):
            raise UnusablePackageError(f"pip did not download {wheel.name} {wheel.version}")
    return tuple(_cached(cache, wheel) for wheel in wheels)


def _download(wheels: Sequence[Wheel], arch: Arch, folder: Path) -> None:
    requirements = folder / "requirements.txt"
    pins = (f"{each.name}=={each.version} --hash=sha256:{each.sha256}\n" for each in wheels)
    requirements.write_text("".join(pins))
    platforms = (f"--platform={glibc}_{_MACHINES[arch.name]}" for glibc in _GLIBCS)
    argv = [
        *_pip(), "download", "--quiet", "--disable-pip-version-check", "--no-input",
        "--require-hashes", "--no-deps", "--only-binary=:all:", "--implementation=cp",
        f"--python-version={PYTHON}", *platforms, "--dest", folder, "--requirement", requirements,
    ]  # fmt: skip
    try:
        run_tool(argv, package=_PIP_PACKAGE, env=_caller_settings())
    except DependencyError as error:
        hint = error.hint or "set PIP_INDEX_URL to use another index than PyPI"
        raise UnusablePackageError(f"Python packages: {error.message}", hint=hint) from error


def _pip() -> list[str | Path]:
    # A virtual environment may lack pip while the system has it.
    if find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    return [find_tool("pip3", package=_PIP_PACKAGE)]


def _caller_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if _FROM_CALLER.fullmatch(name)}


def _cached(cache: Path, wheel: Wheel) -> Path:
    return cache / f"{wheel.sha256}.whl"


def _is_there(cache: Path, wheel: Wheel) -> bool:
    path = _cached(cache, wheel)
    return path.is_file() and _sha256(path) == wheel.sha256


def _sha256(path: Path) -> str:
    return hash_content(Content.of_file(path)).hex()


def wheel_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (name, contents) of each file of the wheel `path`, named relative to site-packages.

    Raises DependencyError if the wheel cannot be read, has a name that leads outside, or files that
    an installer would have to move (`*.data/`).
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if not member.is_dir():
                    yield _checked_name(member), archive.read(member)
    except (
        zipfile.BadZipFile,
        ValueError,
        NotImplementedError,
        RuntimeError,
        OSError,
        InputError,
    ) as error:
        raise UnusablePackageError(f"{path}: not a usable wheel: {error}") from error


def _checked_name(member: zipfile.ZipInfo) -> str:
    check_path(member.filename)
    if "\\" in member.filename:
        raise ValueError(f"{member.filename!r} has a backslash")
    if member.filename.partition("/")[0].endswith(".data"):
        raise ValueError(f"{member.filename!r} must be installed")
    if member.file_size > _LARGEST_FILE:
        raise ValueError(f"{member.filename!r} is too large")
    return member.filename
