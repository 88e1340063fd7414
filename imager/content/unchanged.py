"""Notice source files that change while their bytes are copied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imager.content.extents import BlockRange, Content, FileRange, StreamRange
from imager.support.errors import InputError


@contextmanager
def unchanged(content: Content) -> Iterator[None]:
    """Raise InputError if a source file changed while the block ran."""
    before = {path: _identity(path) for path in set(_paths(content))}
    yield
    for path, identity in before.items():
        if _identity(path) != identity:
            raise InputError(
                f"{path} was changed while it was copied",
                hint="let nothing write to the inputs during a build, then run it again",
            )


def _paths(content: Content) -> Iterator[Path]:
    for extent in content.extents:
        match extent.source:
            case FileRange(path) | StreamRange(path):
                yield path
            case BlockRange(packed):
                yield from _paths(packed)


def _identity(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
