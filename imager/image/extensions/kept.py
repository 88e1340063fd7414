"""Results that are kept between runs, in files named by the digest of what they are made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from imager.support.atomic import atomic_file


def kept_file(path: Path, make: Callable[[], Iterable[bytes]]) -> Path:
    """Return `path`, created with the bytes of `make` if it is missing."""
    if not path.is_file():
        with (
            atomic_file(path, mode=0o644) as descriptor,
            open(descriptor, "wb", closefd=False) as file,
        ):
            file.writelines(make())
    return path
