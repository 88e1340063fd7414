"""Opens the image cache that a command line names: a path or a registry reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imager.cache.blobstore import LayerCache
from imager.cache.open import open_whole_cache
from imager.cache.opened import OpenedCache
from imager.cache.pull import pull_whole_cache
from imager.oci.reference import Reference, is_strict_reference
from imager.support.errors import Fail, stop_at
from imager.support.reporter import Reporter

if TYPE_CHECKING:
    from imager.oci.settings import RegistrySettings


# As skopeo names what is in a registry, and what is on this machine.
_REGISTRY = "docker://"
_LOCAL = ("oci:", "oci-archive:", "docker-archive:", "dir:")


def cache_place(source: str) -> Reference | Path:
    """Return where the cache `source` is: in a registry, or at a path.

    Names of skopeo's transports may stand before either. An existing path wins. Raises InputError
    for what follows `docker://` and is not a reference with a tag or digest.
    """
    if Path(source).exists():
        return Path(source)
    if source.startswith(_REGISTRY):
        return Reference.parse_strict(source.removeprefix(_REGISTRY))
    for prefix in _LOCAL:
        if source.startswith(prefix):
            return Path(source.removeprefix(prefix))
    return Reference.parse_strict(source) if is_strict_reference(source) else Path(source)


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
        place = cache_place(source)
        if isinstance(place, Path):
            return open_whole_cache(place, fail=fail)
        from imager.oci.registry import RegistryClient

        return pull_whole_cache(
            place,
            client=RegistryClient.from_settings(self.settings),
            layer_cache=LayerCache.open(self.layer_cache or scratch),
            reporter=self.reporter,
            fail=fail,
        )
