"""Locate and open an image cache by path or registry reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imager.cache.open import open_cache
from imager.oci.location import parse_place
from imager.oci.reference import Reference
from imager.support.arch import Arch
from imager.support.errors import Fail, stop_at

if TYPE_CHECKING:
    from imager.cache.opened import OpenedCache
    from imager.cache.pull import Puller


@dataclass(frozen=True, slots=True)
class CacheLocation:
    """The location of an image cache: a path, or a reference to an image in a registry."""

    place: Path | Reference

    @classmethod
    def parse(cls, text: str) -> CacheLocation:
        """Parse a path or a registry reference; see `parse_place`."""
        return cls(parse_place(text))

    @property
    def is_remote(self) -> bool:
        """Whether the cache is in a registry."""
        return isinstance(self.place, Reference)

    def open(
        self, puller: Puller, *, arch: Arch | None = None, fail: Fail = stop_at
    ) -> OpenedCache:
        """Open the cache; raises as `open_cache` and `Puller.pull`."""
        if isinstance(self.place, Path):
            return open_cache(self.place, arch=arch, fail=fail)
        return puller.pull(self.place, arch=arch, fail=fail)
