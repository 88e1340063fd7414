"""Loop devices as disks for tests that run as root; no udev and no partition scan are needed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imager.tools import find_tool

_TIMEOUT = 30


@contextmanager
def loop_device(image: Path, sector_size: int = 512, *, read_only: bool = False) -> Iterator[Path]:
    """Attach `image` as a disk of `sector_size`-byte sectors with its partitions; yield its path.

    It is told the kernel by BLKPG what partitions there are (partx), since not every kernel reads
    tables itself.
    """
    options = ["-r"] if read_only else []
    with _attached("-P", "-b", str(sector_size), *options, image) as path:
        scan(path)
        yield path


@contextmanager
def loop_volume(image: Path) -> Iterator[Path]:
    """Attach `image` as a device without partitions; yield its path."""
    with _attached(image) as path:
        yield path


def scan(path: Path) -> None:
    """Tell the kernel what partitions a disk has; it is no error if it has none."""
    _run("partx", "-u", path)


def _run(name: str, *arguments: str | Path) -> str:
    done = subprocess.run(
        [find_tool(name, package="util-linux"), *arguments],
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
