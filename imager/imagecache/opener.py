"""Opens the image cache that a command line names: a path or a registry reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imager.errors import Fail, stop_at
from imager.imagecache.layercache import LayerCache
from imager.imagecache.open import open_whole_cache
from imager.imagecache.opened import OpenedCache
from imager.imagecache.pull import pull_whole_cache
from imager.oci.reference import Reference, is_strict_reference
from imager.reporter import Reporter

if TYPE_CHECKING:
    from imager.oci.settings import RegistrySettings


def remote_reference(source: str) -> Reference | None:
    """Parse `source` as a registry reference; None for a path. An existing path wins."""
    if Path(source).exists() or not is_strict_reference(source):
        return None
    return Reference.parse_strict(source)


@dataclass(frozen=True, slots=True)
class CacheOpener:
    """Opens caches by path or reference; a registry's is pulled to `layer_cache`, if set."""

    settings: RegistrySettings
    layer_cache: Path | None
    reporter: Reporter

    def open(self, source: str, scratch: Path, *, fail: Fail = stop_at) -> OpenedCache:
        """Return the cache at `source`; `scratch` is where it is pulled to without a layer cache.

        Raises as `open_whole_cache` and `pull_whole_cache`.
        """
        reference = remote_reference(source)
        if reference is None:
            return open_whole_cache(Path(source), fail=fail)
        from imager.oci.registry import RegistryClient

        return pull_whole_cache(
            reference,
            client=RegistryClient.from_settings(self.settings),
            layer_cache=LayerCache.open(self.layer_cache or scratch),
            reporter=self.reporter,
            fail=fail,
        )
