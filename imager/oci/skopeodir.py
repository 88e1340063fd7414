"""Folders that `skopeo copy ... dir:FOLDER` makes: containers-transports(5).

manifest.json            the manifest or index
<hex>.manifest.json      a manifest that the index names (`--all`)
<hex>                    a blob
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from imager.content.extents import Content
from imager.oci.digest import Digest
from imager.oci.folder import FolderFiles
from imager.oci.manifest import Descriptor, RawManifest
from imager.oci.source import BlobCheck, ByteSink, LocalRange, NotFoundError
from imager.support.errors import InputError

_ROOT = "manifest.json"


@dataclass(frozen=True, slots=True)
class SkopeoDirectory:
    """The one image of such a folder; an ImageSource."""

    files: FolderFiles

    @classmethod
    def open(cls, folder: Path) -> SkopeoDirectory:
        """Return the image in `folder`; raises InputError when there is none."""
        root = Path(os.path.realpath(folder))
        if not (root / _ROOT).is_file():
            raise InputError(
                f"{folder} is not a folder of skopeo's: it has no {_ROOT}",
                hint="skopeo copy docker://IMAGE dir:FOLDER makes one",
            )
        return cls(FolderFiles(root))

    def root(self) -> RawManifest:
        """Return the manifest or index of the image."""
        return self._parsed(_ROOT)

    @property
    def warnings(self) -> tuple[str, ...]:
        """None: the image is kept byte by byte."""
        return ()

    def manifest(self, target: str | Digest) -> RawManifest:
        """Return a manifest by its digest; see ImageSource."""
        root = self.root()
        if target == root.digest:
            return root
        if not isinstance(target, Digest):
            raise NotFoundError(f"{self.files.folder} has no manifest {target}")
        found = self._parsed(f"{target.hex}.{_ROOT}")
        if found.digest != target:
            raise InputError(
                f"{self.files.folder}: manifest {target} is not what its digest says",
                hint="the folder is damaged: copy the image again",
            )
        return found

    def _parsed(self, name: str) -> RawManifest:
        where = f"{self.files.folder}/{name}"
        return RawManifest.parse(self.files.find(name).document(where), where=where)

    def blob_content(self, blob: Descriptor) -> Content:
        """Return the blob's file as content; see ImageSource."""
        return self._locate(blob).content()

    def fetch_blob(self, blob: Descriptor, sink: ByteSink, *, have: Iterable[bytes] = ()) -> None:
        """Write the blob to `sink`, checked; see ImageSource."""
        where = f"{self.files.folder}: blob {blob.digest}"
        check = BlobCheck(blob, sink, where=where, error=InputError)
        self._locate(blob).copy_blob(check, have=have)

    def _locate(self, blob: Descriptor) -> LocalRange:
        return self.files.find(blob.digest.hex).of_size(blob)
