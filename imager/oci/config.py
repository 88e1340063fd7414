"""Image configurations: OCI image specification, config.md, as far as a platform goes.

https://github.com/opencontainers/image-spec/blob/main/config.md#properties
"""

from __future__ import annotations

from imager.oci.documents import load_fields
from imager.oci.manifest import ImageManifest
from imager.oci.platform import Platform
from imager.support.errors import ImagerError

LARGEST_CONFIG = 4 << 20


def config_platform(raw: bytes) -> Platform | None:
    """Return the platform that the configuration `raw` tells, normalised.

    None when it tells none: what is no image, such as a signature, has none.
    """
    try:
        fields = load_fields(raw, where="configuration")
        parts = [fields.text(key) for key in ("os", "architecture", "variant")]
        return Platform.parse("/".join(part for part in parts if part))
    except ImagerError:
        return None


def platform_of(manifest: ImageManifest, told: Platform | None) -> Platform | None:
    """Return the platform of an image whose index does not tell it; `told` is its configuration's.

    An image without one is for linux/amd64, as for other clients; an artifact is for no platform.
    """
    return None if manifest.is_artifact else told or Platform("linux", "amd64")
