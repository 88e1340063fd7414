"""What image sources of one blob, made up by tests, have in common: it is not on this machine."""

from __future__ import annotations

from imager.content.extents import Content
from imager.oci.digest import Digest
from imager.oci.manifest import Descriptor, RawManifest


class RemoteSource:
    """An ImageSource but for `fetch_blob`; its blob is not on this machine."""

    warnings: tuple[str, ...] = ()

    def root(self) -> RawManifest:
        raise NotImplementedError

    def manifest(self, target: str | Digest) -> RawManifest:
        raise NotImplementedError

    def blob_content(self, blob: Descriptor) -> Content | None:
        return None
