"""The platform in image configurations: OCI image specification, config.md.

https://github.com/opencontainers/image-spec/blob/main/config.md#properties
"""

from __future__ import annotations

from imager.oci.documents import load_fields
from imager.oci.manifest import ImageManifest
from imager.oci.platform import Platform
from imager.support.errors import ImagerError

LARGEST_CONFIG = 4 << 20


def config_platform(raw: bytes) -> Platform | None:
    """Return the normalised platform of the configuration `raw`.

    None when the configuration has no platform, for example that of a signature.
    """
    try:
        fields = load_fields(raw, where="configuration")
        parts = [fields.text(key) for key in ("os", "architecture", "variant")]
        return Platform.parse("/".join(part for part in parts if part))
    except ImagerError:
        return None


def platform_of(manifest: ImageManifest, told: Platform | None) -> Platform | None:
    """Return the platform of an image whose index does not give one.

    `told` is the platform of its configuration. Without one an image is for linux/amd64, as for
    other clients; an artifact has no platform.
    """
    return None if manifest.is_artifact else told or Platform("linux", "amd64")
