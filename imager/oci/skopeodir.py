"""Directories that `skopeo copy ... dir:FOLDER` creates: containers-transports(5).

manifest.json            the manifest or index
<hex>.manifest.json      a manifest that the index names (`--all`)
<hex>                    a blob
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imager.content.extents import Content
from imager.oci.digest import Digest
from imager.oci.errors import InvalidImageError, NotFoundError
from imager.oci.files import FolderFiles
from imager.oci.manifest import Descriptor, RawManifest
from imager.oci.source import StoredImage

_ROOT = "manifest.json"


@dataclass(frozen=True, slots=True)
class SkopeoDirectory(StoredImage):
    """The one image of such a directory; an ImageSource."""

    files: FolderFiles

    @classmethod
    def open(cls, folder: Path) -> SkopeoDirectory:
        """Open the image in `folder`; raises InputError when there is none."""
        files = FolderFiles.open(folder)
        if not files.has(_ROOT):
            raise InvalidImageError(
                f"{folder} is not a skopeo directory: it has no {_ROOT}",
                hint="create one with: skopeo copy docker://IMAGE dir:FOLDER",
            )
        return cls(files)

    def root(self) -> RawManifest:
        """Return the manifest or index of the image."""
        return RawManifest.parse(self.files.document(_ROOT), where=self.files.where(_ROOT))

    @property
    def place(self) -> str:
        """The directory."""
        return str(self.files.path)

    def manifest(self, target: str | Digest) -> RawManifest:
        """Return a manifest by its digest; see ImageSource."""
        root = self.root()
        if target == root.digest:
            return root
        if not isinstance(target, Digest):
            raise NotFoundError(f"{self.files.path} has no manifest {target}")
        return self.files.manifest(f"{target.hex}.{_ROOT}", target)

    def blob_content(self, blob: Descriptor) -> Content:
        """Return the blob's file as content; see ImageSource."""
        return self.files.blob(blob.digest.hex, blob).content
