"""OCI image layouts: folders of blobs with an index, image-layout.md of the OCI image spec.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md. The folder may be in a tar
(skopeo's `oci-archive:`, `docker save` of Docker 25 and later). A layout is untrusted: the size and
digest of every document and blob are checked, and no path may leave the folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imager.content.extents import Content
from imager.content.tree import File
from imager.oci.digest import Digest
from imager.oci.documents import dump_json, load_fields
from imager.oci.errors import InvalidImageError, NotFoundError
from imager.oci.files import FolderFiles, ImageFiles
from imager.oci.manifest import INDEX_TYPES, Descriptor, Index, RawManifest
from imager.oci.platform import Platform
from imager.oci.source import StoredImage
from imager.support.errors import UnsupportedError

REF_NAME = "org.opencontainers.image.ref.name"
# The full reference, as containerd and BuildKit write it; REF_NAME may be just a tag.
CONTAINERD_NAME = "io.containerd.image.name"
LAYOUT_FILE = "oci-layout"
INDEX_FILE = "index.json"
_VERSION = "1.0.0"


def oci_layout_json() -> bytes:
    """Return the contents of the `oci-layout` file."""
    return dump_json({"imageLayoutVersion": _VERSION})


def blob_path(digest: Digest) -> str:
    """Return the path of a blob inside a layout."""
    return f"blobs/sha256/{digest.hex}"


@dataclass(frozen=True, slots=True)
class Layout:
    """An open image layout: its files, and its index both raw and parsed."""

    files: ImageFiles
    root: RawManifest
    index: Index

    @classmethod
    def open(cls, folder: Path) -> Layout:
        """Open the layout in `folder`.

        Raises InputError when it is not a layout or its files are invalid, UnsupportedError for
        another layout version, OutputError when they cannot be read.
        """
        files = FolderFiles.open(folder)
        _check_is_layout(files, f"{folder} is not an OCI image layout", "oci:DIR:TAG")
        return cls.of(files)

    @classmethod
    def open_archive(cls, path: Path) -> Layout:
        """Open the layout in the archive at `path`; raises as `open_archive` and `open`."""
        from imager.oci.archive import open_archive

        files = open_archive(path)
        _check_is_layout(files, f"{path} is not an OCI archive", "oci-archive:FILE:TAG")
        return cls.of(files)

    @classmethod
    def of(cls, files: ImageFiles) -> Layout:
        """Open the layout with the files `files`; raises as `open`."""
        fields = load_fields(files.document(LAYOUT_FILE), where=files.where(LAYOUT_FILE))
        version = fields.text("imageLayoutVersion")
        if not version.startswith("1."):
            raise UnsupportedError(
                f"{files.path}: image layout version {version!r} is not supported"
            )
        where = files.where(INDEX_FILE)
        root = RawManifest.parse(files.document(INDEX_FILE), where=where)
        if not isinstance(root.document, Index):
            raise InvalidImageError(f"{where} is a manifest, not an index")
        return cls(files, root, root.document)

    @property
    def path(self) -> Path:
        """The folder, with links resolved, or the archive."""
        return self.files.path

    @property
    def names(self) -> frozenset[str]:
        """The names of its images: tags and full references."""
        return frozenset(name for entry in self.index.images for name in entry_names(entry))

    def select(self, *, name: str | None = None, platform: Platform | None = None) -> LayoutImage:
        """Return the one image called `name` (tag or full reference) that is for `platform`.

        An entry without a platform matches every platform; an attestation matches none. Raises
        InputError, listing the layout's images, when no entry or several different entries match.
        """
        found = {
            entry.digest: entry
            for entry in self.index.images
            if (name is None or name in entry_names(entry)) and fits(entry, platform)
        }
        if len(found) != 1:
            wanted = " ".join(str(part) for part in (name, platform) if part is not None)
            what = "no image" if not found else f"{len(found)} images"
            there = "; ".join(sorted(_describe(entry) for entry in self.index.images))
            raise InvalidImageError(
                f"{self.path} has {what}{' for ' if wanted else ''}{wanted}",
                hint=f"choose one, as in {self.path}:NAME: {there}"
                if there
                else "it has no images",
            )
        return LayoutImage(self, next(iter(found.values())))

    def blob(self, blob: Descriptor) -> File:
        """Return the file of a blob.

        Raises NotFoundError when it is missing, InputError when its size differs or its path leaves
        the folder.
        """
        return self.files.blob(blob_path(blob.digest), blob)


@dataclass(frozen=True, slots=True)
class LayoutImage(StoredImage):
    """One image of a layout; an ImageSource."""

    layout: Layout
    entry: Descriptor

    def root(self) -> RawManifest:
        """Return the manifest or index that the layout's index names."""
        self.layout.blob(self.entry)
        return self._read(self.entry.digest, self.entry.media_type)

    @property
    def place(self) -> str:
        """The path of the layout."""
        return str(self.layout.path)

    def manifest(self, target: str | Digest) -> RawManifest:
        """Return a manifest by its digest, or by its name in the layout's index."""
        if isinstance(target, Digest):
            return self._read(target)
        for entry in self.layout.index.images:
            if target in entry_names(entry):
                return self._read(entry.digest, entry.media_type)
        raise NotFoundError(f"{self.layout.path} has no image {target}")

    def _read(self, digest: Digest, media_type: str = "") -> RawManifest:
        return self.layout.files.manifest(blob_path(digest), digest, media_type=media_type)

    def blob_content(self, blob: Descriptor) -> Content:
        """Return the blob's file as content; see ImageSource."""
        return self.layout.blob(blob).content


def is_layout(files: ImageFiles) -> bool:
    """Return whether `files` are those of an image layout."""
    return files.has(LAYOUT_FILE) and files.has(INDEX_FILE)


def _check_is_layout(files: ImageFiles, problem: str, form: str) -> None:
    if not is_layout(files):
        raise InvalidImageError(
            f"{problem}: {LAYOUT_FILE} or {INDEX_FILE} is missing",
            hint=f"create one with: skopeo copy docker://IMAGE {form}",
        )


def entry_names(entry: Descriptor) -> tuple[str, ...]:
    """Return the names of an index entry, the most complete first."""
    names = (entry.annotation(CONTAINERD_NAME), entry.annotation(REF_NAME))
    return tuple(dict.fromkeys(name for name in names if name))


def fits(entry: Descriptor, platform: Platform | None) -> bool:
    """Return whether an entry matches `platform`; None matches every entry."""
    if platform is None or entry.platform is None or entry.media_type in INDEX_TYPES:
        return True
    return entry.platform.matches(platform)


def _describe(entry: Descriptor) -> str:
    names = entry_names(entry)
    parts = (names[0] if names else str(entry.digest), str(entry.platform or ""))
    return " ".join(part for part in parts if part)
