"""The files of a local image, by the names in the image, which are not trusted."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imager.content.extents import Content
from imager.content.reading import read_file
from imager.content.tree import File
from imager.oci.digest import Digest
from imager.oci.documents import MAX_DOCUMENT
from imager.oci.errors import InvalidImageError, NotFoundError
from imager.oci.manifest import Descriptor, RawManifest
from imager.support.units import format_size


class ImageFiles(ABC):
    """The files of a layout, an archive or a skopeo directory; `path` is for messages."""

    path: Path

    @abstractmethod
    def has(self, name: str) -> bool:
        """Return whether a file of this name exists."""

    @abstractmethod
    def find(self, name: str) -> File:
        """Return a file; raises NotFoundError when it is missing."""

    def where(self, name: str) -> str:
        """Return how messages refer to a file."""
        return f"{self.path}/{name}"

    def document(self, name: str) -> bytes:
        """Return the bytes of a small file; raises InputError when it is too large."""
        file = self.find(name)
        raw = read_file(file, MAX_DOCUMENT)
        if raw is None:
            size = format_size(file.content.size)
            raise InvalidImageError(f"{self.where(name)} is too large for a JSON document: {size}")
        return raw

    def manifest(self, name: str, digest: Digest, *, media_type: str = "") -> RawManifest:
        """Parse the manifest `digest`; raises InputError when its digest differs."""
        raw, where = self.document(name), f"{self.path}: manifest {digest}"
        if Digest.of(raw) != digest:
            raise InvalidImageError(
                f"{where} does not match its digest",
                hint="it is damaged: copy or create it again",
            )
        return RawManifest.parse(raw, media_type=media_type, where=where)

    def blob(self, name: str, blob: Descriptor) -> File:
        """Return the file of a blob; raises InputError when its size differs."""
        file = self.find(name)
        if file.content.size != blob.size:
            raise InvalidImageError(
                f"{self.where(name)} has {file.content.size} bytes, but its descriptor says "
                f"{blob.size}"
            )
        return file


@dataclass(frozen=True, slots=True)
class FolderFiles(ImageFiles):
    """The files in a folder, looked up one by one; links in the folder's own path are resolved."""

    path: Path

    @classmethod
    def open(cls, folder: Path) -> FolderFiles:
        """Open the files in `folder`; raises InputError when it does not exist."""
        if not folder.exists():
            raise InvalidImageError(f"{folder} does not exist", hint="check the path")
        return cls(Path(os.path.realpath(folder)))

    def has(self, name: str) -> bool:
        """Return whether a file of this name exists."""
        return (self.path / name).is_file()

    def find(self, name: str) -> File:
        """Return a file; raises as ImageFiles, and InputError for a link that leaves the folder."""
        # Not Path.resolve, which raises RuntimeError for a loop of links.
        file = Path(os.path.realpath(self.path / name))
        if not file.is_relative_to(self.path):
            raise InvalidImageError(f"{self.path / name} is a link that leads out of the folder")
        if not file.is_file():
            raise NotFoundError(
                f"{self.path / name} is missing", hint="it is incomplete: copy or create it again"
            )
        return File(name, Content.of_file(file))


@dataclass(frozen=True, slots=True)
class ArchiveFiles(ImageFiles):
    """The files of an archive, by name."""

    path: Path
    files: Mapping[str, File]

    def has(self, name: str) -> bool:
        """Return whether a file of this name exists."""
        return name in self.files

    def find(self, name: str) -> File:
        """Return a file; raises as ImageFiles."""
        file = self.files.get(name)
        if file is None:
            raise NotFoundError(
                f"{self.path}: {name} is missing", hint="the archive is incomplete: save it again"
            )
        return file
