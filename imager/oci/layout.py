"""OCI image layouts: folders of blobs with an index, image-layout.md of the OCI image spec.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md. A layout may come from
anyone: every document and blob is checked by size and digest, and no path leaves the folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from imager.errors import InputError, OutputError, UnsupportedError
from imager.extents import Content
from imager.oci.digest import Digest
from imager.oci.documents import MAX_DOCUMENT, dump_json, load_fields
from imager.oci.manifest import INDEX_TYPES, Descriptor, Index, RawManifest, parse_manifest
from imager.oci.platform import Platform
from imager.oci.source import BlobCheck, ByteSink, LocalRange, NotFoundError
from imager.units import format_size

REF_NAME = "org.opencontainers.image.ref.name"
# What containerd and BuildKit write: the full reference, where REF_NAME may be a tag alone.
CONTAINERD_NAME = "io.containerd.image.name"
LAYOUT_FILE = "oci-layout"
INDEX_FILE = "index.json"
_VERSION = "1.0.0"


def oci_layout_json() -> bytes:
    """Return the contents of a layout's `oci-layout` file."""
    return dump_json({"imageLayoutVersion": _VERSION})


def blob_path(digest: Digest) -> str:
    """Return the path of a blob inside a layout."""
    return f"blobs/sha256/{digest.hex}"


@dataclass(frozen=True, slots=True)
class Layout:
    """An opened image layout: its folder, links resolved, and its index."""

    folder: Path
    index: Index

    @classmethod
    def open(cls, folder: Path) -> Layout:
        """Return the layout in `folder`.

        Raises InputError when it is not one or its files are not valid, UnsupportedError for
        another layout version, OutputError when they cannot be read.
        """
        root = Path(os.path.realpath(folder))
        if not (root / LAYOUT_FILE).is_file() or not (root / INDEX_FILE).is_file():
            raise InputError(
                f"{folder} is not an OCI image layout: it has no {LAYOUT_FILE} or no {INDEX_FILE}",
                hint="skopeo copy docker://IMAGE oci:DIR:TAG makes one",
            )
        mark = load_fields(_document(root, LAYOUT_FILE), where=f"{folder}/{LAYOUT_FILE}")
        version = mark.text("imageLayoutVersion")
        if not version.startswith("1."):
            raise UnsupportedError(f"{folder}: image layout version {version!r} is not supported")
        where = f"{folder}/{INDEX_FILE}"
        index = parse_manifest(_document(root, INDEX_FILE), where=where)
        if not isinstance(index, Index):
            raise InputError(f"{where} is a manifest, not an index")
        return cls(root, index)

    def select(self, *, name: str | None = None, platform: Platform | None = None) -> LayoutImage:
        """Return the one image called `name` (tag or full reference), and for `platform`.

        An entry without a platform goes for any; an attestation for none. Raises InputError,
        listing what there is, when no entry or several different ones fit.
        """
        found = {
            entry.digest: entry
            for entry in self.index.images
            if (name is None or name in entry_names(entry)) and _fits(entry, platform)
        }
        if len(found) != 1:
            wanted = " ".join(str(part) for part in (name, platform) if part is not None)
            what = "no image" if not found else f"{len(found)} images"
            there = "; ".join(sorted(_describe(entry) for entry in self.index.images))
            raise InputError(
                f"{self.folder} has {what}{' for ' if wanted else ''}{wanted}",
                hint=f"name one of: {there or 'nothing, it is empty'}",
            )
        return LayoutImage(self, next(iter(found.values())))

    def root(self) -> RawManifest:
        """Return the layout's index, its bytes as they are, as an image of several platforms."""
        raw = _document(self.folder, INDEX_FILE)
        return RawManifest.parse(raw, where=f"{self.folder}/{INDEX_FILE}")

    def locate(self, blob: Descriptor) -> LocalRange:
        """Return where a blob lies.

        Raises NotFoundError when it is not there, InputError when its size is another one or
        its path leaves the folder.
        """
        path = _inside(self.folder, blob_path(blob.digest))
        size = path.stat().st_size
        if size != blob.size:
            raise InputError(f"{path} has {size} bytes, its descriptor says {blob.size}")
        return LocalRange(path, 0, size)


@dataclass(frozen=True, slots=True)
class LayoutImage:
    """One image of a layout; an ImageSource."""

    layout: Layout
    entry: Descriptor

    def root(self) -> RawManifest:
        """Return the manifest or index that the layout's index names."""
        self.layout.locate(self.entry)
        return self._read(self.entry.digest, self.entry.media_type)

    @property
    def warnings(self) -> tuple[str, ...]:
        """None: the image is kept byte by byte."""
        return ()

    def manifest(self, target: str | Digest) -> RawManifest:
        """Return a manifest by digest, or by the name the layout's index gives it."""
        if isinstance(target, Digest):
            return self._read(target)
        for entry in self.layout.index.images:
            if target in entry_names(entry):
                return self._read(entry.digest, entry.media_type)
        raise NotFoundError(f"{self.layout.folder} has no image {target}")

    def _read(self, digest: Digest, media_type: str = "") -> RawManifest:
        raw = _document(self.layout.folder, blob_path(digest))
        where = f"{self.layout.folder}: manifest {digest}"
        if Digest.of(raw) != digest:
            raise InputError(
                f"{where} is not what its digest says", hint="the layout is damaged: make it again"
            )
        return RawManifest.parse(raw, media_type=media_type, where=where)

    def blob_content(self, blob: Descriptor) -> Content:
        """Return the blob's file as content; see ImageSource."""
        return self.layout.locate(blob).content()

    def fetch_blob(self, blob: Descriptor, sink: ByteSink, *, have: Iterable[bytes] = ()) -> None:
        """Write the blob to `sink`, checked; see ImageSource."""
        check = BlobCheck(
            blob, sink, where=f"{self.layout.folder}: blob {blob.digest}", error=InputError
        )
        self.layout.locate(blob).copy_blob(check, have=have)


def entry_names(entry: Descriptor) -> tuple[str, ...]:
    """Return the names an index entry goes by, the fullest first."""
    names = (entry.annotation(CONTAINERD_NAME), entry.annotation(REF_NAME))
    return tuple(dict.fromkeys(name for name in names if name))


def _fits(entry: Descriptor, platform: Platform | None) -> bool:
    if platform is None or entry.platform is None or entry.media_type in INDEX_TYPES:
        return True
    return entry.platform.matches(platform)


def _describe(entry: Descriptor) -> str:
    names = entry_names(entry)
    parts = (names[0] if names else str(entry.digest), str(entry.platform or ""))
    return " ".join(part for part in parts if part)


def _inside(folder: Path, name: str) -> Path:
    # Path.resolve raises RuntimeError for a loop of links.
    path = Path(os.path.realpath(folder / name))
    if not path.is_relative_to(folder):
        raise InputError(f"{folder / name} is a link that leaves the layout")
    if not path.is_file():
        raise NotFoundError(
            f"{folder / name} is missing", hint="the layout is incomplete: make it again"
        )
    return path


def _document(folder: Path, name: str) -> bytes:
    path = _inside(folder, name)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_DOCUMENT + 1)
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}") from error
    if len(raw) > MAX_DOCUMENT:
        raise InputError(f"{path} is larger than {format_size(MAX_DOCUMENT)}")
    return raw
