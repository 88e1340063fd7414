"""Generate the machine configuration patch for an image cache."""

from __future__ import annotations

from imager.support.units import GIB, MIB, align_up
from imager.talos.config.selector import SYSTEM_DISK
from imager.talos.constants import IMAGE_CACHE
from imager.talos.version import TalosVersion
from imager.talos.versions import IMAGE_CACHE_CONFIG_SINCE, require_image_cache

_MIN_STEP, _MAX_STEP = 16 * MIB, 256 * MIB
_FIELD = """\
machine:
  features:
    imageCache:
      localEnabled: true
"""
_DOCUMENT = """\
apiVersion: v1alpha1
kind: ImageCacheConfig
local:
  enabled: true
"""


def patch_text(version: TalosVersion, volume_size: int | None) -> str:
    """Return the YAML documents that enable the image cache and, with a size, create its volume.

    `volume_size` is the minimum size in bytes for a volume that holds the cache. minSize is that
    size, rounded up to 16 MiB; maxSize is a fifth larger, as on Talos's disk images, rounded up to
    256 MiB. Raises UnsupportedError for a release without image caches.
    """
    require_image_cache(version)
    documents = [_DOCUMENT if version.at_least(*IMAGE_CACHE_CONFIG_SINCE) else _FIELD]
    if volume_size is not None:
        documents.append(_volume(volume_size))
    return "---\n".join(documents)


def _volume(size: int) -> str:
    return f"""\
apiVersion: v1alpha1
kind: VolumeConfig
name: {IMAGE_CACHE}
provisioning:
  diskSelector:
    match: {SYSTEM_DISK}
  minSize: {_written(align_up(size, _MIN_STEP))}
  maxSize: {_written(align_up(size + size // 5, _MAX_STEP))}
"""


def _written(size: int) -> str:
    return f"{size // MIB}MiB" if size % GIB else f"{size // GIB}GiB"
