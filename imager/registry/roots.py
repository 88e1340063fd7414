"""Opens the caches to serve, and reopens them after changes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from imager.cache.cache import ImageCache
from imager.cache.open import open_cache
from imager.registry.blobs import Identity, identity_of
from imager.support.errors import ImagerError, OutputError, joined

_MOST_PROBLEMS = 20

# The identities of the files and folders that reveal a change; None for missing ones.
Stamp = tuple[Identity | None, ...]


@dataclass(frozen=True, slots=True)
class Root:
    """A cache as it was at the time of `stamp`.

    `cache` is None when it could not be opened; `problems` say why, or which parts were skipped.
    Roots are equal if they have the same path and the same time of opening, `opened` (nanoseconds).
    """

    path: Path
    stamp: Stamp = field(compare=False)
    cache: ImageCache | None = field(compare=False)
    problems: tuple[ImagerError, ...] = field(compare=False)
    opened: int = field(default_factory=time.monotonic_ns)

    @property
    def has_changed(self) -> bool:
        """Whether the cache at the path has changed."""
        return stamp_of(self.path) != self.stamp


class RootSource(Protocol):
    """Provides the caches to serve, which may change while a server runs."""

    @property
    def settled(self) -> bool:
        """Whether clients can rely on the caches; systemd is notified when this becomes true."""

    def open(self) -> tuple[Root, ...]:
        """Return the first roots; raises ImagerError when there is nothing to serve."""

    def renew(self, roots: tuple[Root, ...]) -> tuple[Root, ...]:
        """Return the current roots, reusing unchanged ones of `roots`, the previous result.

        Called in a thread, one call at a time.
        """

    def close(self) -> None:
        """Make `renew` return soon, as the server is shutting down."""


@dataclass(frozen=True, slots=True)
class FixedRoots:
    """Caches at given paths."""

    paths: tuple[Path, ...]
    # The caches are opened before the server starts.
    settled: ClassVar[bool] = True

    def open(self) -> tuple[Root, ...]:
        """Open the caches; raises one error for all that cannot be opened."""
        roots = tuple(open_root(path) for path in self.paths)
        failures = [root.problems[0] for root in roots if root.cache is None]
        if failures:
            raise joined(failures, what="caches")
        return roots

    def renew(self, roots: tuple[Root, ...]) -> tuple[Root, ...]:
        """Return `roots`, with changed ones reopened."""
        return tuple(open_root(root.path) if root.has_changed else root for root in roots)

    def close(self) -> None:
        """Do nothing: no operation takes long."""


def open_root(path: Path) -> Root:
    """Open the cache at `path`; damaged parts are skipped and reported."""
    # Take the stamp before reading, so that later changes are detected.
    stamp = stamp_of(path)
    cache: ImageCache | None = None
    problems: list[ImagerError] = []
    try:
        cache = open_cache(path, fail=problems.append).cache.readable_in_any_order()
    except ImagerError as error:
        problems = [error]
    except OSError as error:
        problems = [OutputError(f"cannot read {path}: {error.strerror}")]
        problems[0].__cause__ = error
    return Root(path, stamp, cache, tuple(problems[:_MOST_PROBLEMS]))


def stamp_of(path: Path) -> Stamp:
    """Return a value that changes when a cache is replaced, or files are added or removed.

    It covers the file itself, the index of a layout, and the folders of a flat tree.
    """
    return tuple(_identity(each) for each in _telling(path))


def _telling(path: Path) -> Iterator[Path]:
    yield path
    yield path / "index.json"
    for kind in ("blob", "manifests"):
        for folder, _, _ in os.walk(path / kind):
            yield Path(folder)


def _identity(path: Path) -> Identity | None:
    try:
        return identity_of(path.stat())
    except OSError:
        return None
