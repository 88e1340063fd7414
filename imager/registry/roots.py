"""Opens the caches that are served, and opens them again when they have changed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from imager.cache.cache import ImageCache
from imager.cache.open import open_cache
from imager.registry.blobs import Identity, identity_of
from imager.support.errors import ImagerError, OutputError, joined

_MOST_PROBLEMS = 20

# The identities of the files and folders that show a change; None for missing ones.
Stamp = tuple[Identity | None, ...]


@dataclass(frozen=True, slots=True)
class Root:
    """A cache as it was when `stamp` was taken.

    `cache` is None when it could not be opened; `problems` say why, or what of it is left out.
    Roots are equal when they are of the same path and were `opened` (nanoseconds) together.
    """

    path: Path
    stamp: Stamp = field(compare=False)
    cache: ImageCache | None = field(compare=False)
    problems: tuple[ImagerError, ...] = field(compare=False)
    opened: int = field(default_factory=time.monotonic_ns)

    @property
    def has_changed(self) -> bool:
        """Whether the path has another cache now."""
        return stamp_of(self.path) != self.stamp


class RootSource(Protocol):
    """Which caches are served: they may come and go while a server runs."""

    @property
    def settled(self) -> bool:
        """Whether clients may rely on what is served; systemd is notified when it first is true."""

    def open(self) -> tuple[Root, ...]:
        """Return the first roots; raises ImagerError when nothing is to be served."""

    def renew(self, roots: tuple[Root, ...]) -> tuple[Root, ...]:
        """Return the roots of now: of `roots`, the last ones, those that have not changed.

        Called in a thread, one call at a time.
        """

    def close(self) -> None:
        """Have `renew` return soon: the server ends."""


@dataclass(frozen=True, slots=True)
class FixedRoots:
    """Caches at given paths."""

    paths: tuple[Path, ...]

    @property
    def settled(self) -> bool:
        """Always: they have been opened before anything is served."""
        return True

    def open(self) -> tuple[Root, ...]:
        """Return the caches; raises one error for all that cannot be opened."""
        roots = tuple(open_root(path) for path in self.paths)
        failures = [root.problems[0] for root in roots if root.cache is None]
        if failures:
            raise joined(failures, what="caches")
        return roots

    def renew(self, roots: tuple[Root, ...]) -> tuple[Root, ...]:
        """Return `roots`, those that have changed opened again."""
        return tuple(open_root(root.path) if root.has_changed else root for root in roots)

    def close(self) -> None:
        """Nothing takes long here."""


def open_root(path: Path) -> Root:
    """Return the cache at `path`; what is damaged in it is left out and reported."""
    # Before anything is read: what changes meanwhile is read again.
    stamp = stamp_of(path)
    problems: list[ImagerError] = []
    try:
        cache = open_cache(path, fail=problems.append).cache.readable_in_any_order()
    except ImagerError as error:
        return Root(path, stamp, None, (error,))
    except OSError as error:
        problem = OutputError(f"cannot read {path}: {error.strerror}")
        problem.__cause__ = error
        return Root(path, stamp, None, (problem,))
    return Root(path, stamp, cache, tuple(problems[:_MOST_PROBLEMS]))


def stamp_of(path: Path) -> Stamp:
    """Return what changes when a cache is replaced, or files come to it or go.

    Of a file that is itself, of a layout its index, of a flat tree its folders.
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
