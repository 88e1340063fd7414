"""Loop devices as disks for tests that run as root; no udev and no partition scan are needed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imager.support.tools import find_tool

_TIMEOUT = 60
_PACKAGES = {"losetup": "mount", "partx": "util-linux"}


@contextmanager
def loop_device(
    image: Path, sector_size: int = 512, *, read_only: bool = False, is_scanned: bool = True
) -> Iterator[Path]:
    """Attach `image` as a disk of `sector_size`-byte sectors; yield its path.

    The kernel is told of its partitions (`scan`), unless it is not scanned.
    """
    options = ["-r"] if read_only else []
    scanned = ["-P"] if is_scanned else []
    with _attached(*scanned, "-b", str(sector_size), *options, image) as path:
        if is_scanned:
            scan(path)
        yield path


@contextmanager
def loop_volume(image: Path) -> Iterator[Path]:
    """Attach `image` as a device without partitions; yield its path."""
    with _attached(image) as path:
        yield path


def scan(path: Path) -> None:
    """Tell the kernel what partitions a disk has; it is no error if it has none.

    Not every kernel reads partition tables itself.
    """
    _run("partx", "-u", path)


def _run(name: str, *arguments: str | Path) -> str:
    done = subprocess.run(
        [find_tool(name, package=_PACKAGES[name]), *arguments],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else ""


@contextmanager
def _attached(*arguments: str | Path) -> Iterator[Path]:
    path = Path(_run("losetup", "-f", "--show", *arguments) or "/no-loop-device")
    assert path.exists(), "losetup failed"
    try:
        yield path
    finally:
        _run("partx", "-d", path)
        _run("losetup", "-d", path)
