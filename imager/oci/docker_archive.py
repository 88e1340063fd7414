"""Archives of `docker save`, and of the `docker-archive:` transport of podman and skopeo.

Docker image specification 1.2, "Combined Image JSON + Filesystem Changeset Format"
(https://github.com/moby/moby/blob/master/image/spec/v1.2.md). An archive has no registry manifest,
so an OCI manifest is generated from its contents, deterministically; its digest differs from the
one in the registry. Since Docker 25 an archive is also an OCI image layout, whose manifests are
used unchanged: for an image pulled from a registry, they are the registry's.
"""

from __future__ import annotations

import contextlib
import itertools
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imager.content.extents import Content
from imager.oci.archive import open_archive
from imager.oci.digest import Digest
from imager.oci.documents import fields_of, load_fields, load_json
from imager.oci.errors import InvalidImageError, NotFoundError
from imager.oci.files import ArchiveFiles
from imager.oci.layout import Layout, LayoutImage, entry_names, is_layout
from imager.oci.manifest import (
    OCI_CONFIG,
    Descriptor,
    ImageManifest,
    RawManifest,
    manifest_json,
)
from imager.oci.reference import Reference
from imager.oci.source import ImageSource, StoredImage
from imager.oci.storedlayer import stored_layer

_LISTING = "manifest.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of the archive's manifest.json: the names of its members, and its tags."""

    config: str
    layers: tuple[str, ...]
    tags: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class DockerArchive:
    """An open archive: its files and the images that it lists."""

    archive: ArchiveFiles
    entries: tuple[Entry, ...]

    @classmethod
    def open(cls, path: Path) -> DockerArchive:
        """Open the archive `path`; reads headers and manifest.json, but no layers.

        Raises InputError when it is not such an archive, and as `open_archive`.
        """
        return cls.of(open_archive(path))

    @classmethod
    def of(cls, archive: ArchiveFiles) -> DockerArchive:
        """Return the archive with the files `archive`; raises InputError as `open`."""
        if not archive.has(_LISTING):
            raise InvalidImageError(
                f"{archive.path} is not a Docker archive: it has no manifest.json",
                hint="create one with: docker save IMAGE -o FILE",
            )
        where = archive.where(_LISTING)
        listed = load_json(archive.document(_LISTING), where=where)
        if not isinstance(listed, list):
            raise InvalidImageError(f"{where} must be a list")
        return cls(archive, tuple(_entry(item, where) for item in listed))

    def entry(self, tag: Reference | None = None) -> Entry:
        """Return the image tagged `tag`, or the only one.

        Raises InputError when no image or several images match.
        """
        found = [entry for entry in self.entries if tag is None or tag in entry.tags]
        if len(found) != 1:
            what = "no image" if not found else f"{len(found)} images"
            names = ", ".join(str(tag) for entry in self.entries for tag in entry.tags)
            raise InvalidImageError(
                f"{self.archive.path} has {what}{f' for {tag}' if tag else ''}",
                hint=f"choose one, as in {self.archive.path}:NAME: {names}"
                if names
                else "none of its images has a tag",
            )
        return found[0]

    def image(self, entry: Entry) -> ImageSource:
        """Return an image from the archive's layout, or else one generated from its entry.

        Raises InputError as `made_image`, and for an invalid layout.
        """
        return self._in_layout(entry) or self.made_image(entry)

    def _in_layout(self, entry: Entry) -> LayoutImage | None:
        """Return the layout's image with one of the tags, else with the same configuration."""
        if not is_layout(self.archive):
            return None
        layout = Layout.of(self.archive)
        names = {str(tag) for tag in entry.tags}
        images = [LayoutImage(layout, each) for each in layout.index.images]
        named = (image for image in images if names & set(entry_names(image.entry)))
        config = Digest.of(self.archive.document(posixpath.normpath(entry.config)))
        same = (image for image in images if _has_config(image, config))
        return next(itertools.chain(named, same), None)

    def made_image(self, entry: Entry) -> DockerArchiveImage:
        """Return an image with a generated manifest; reads each of its layers once.

        Raises InputError when the layers do not match the configuration.
        """
        path = self.archive.path
        where = f"{path}: {entry.config}"
        stored = posixpath.normpath(entry.config)
        raw = self.archive.document(stored)
        rootfs = load_fields(raw, where=where).child("rootfs")
        diff_ids = rootfs.texts("diff_ids") if rootfs else ()
        if len(diff_ids) != len(entry.layers):
            raise InvalidImageError(
                f"{where} lists {len(diff_ids)} layers, but the archive has {len(entry.layers)}"
            )
        config = Descriptor(OCI_CONFIG, Digest.of(raw), len(raw))
        files = [self.archive.find(posixpath.normpath(name)) for name in entry.layers]
        layers = [
            stored_layer(file.content, diff_id, f"{path}: {name}")
            for file, diff_id, name in zip(files, diff_ids, entry.layers, strict=True)
        ]
        blobs = {blob.digest: file.content for blob, file in zip(layers, files, strict=True)}
        blobs[config.digest] = self.archive.find(stored).content
        return DockerArchiveImage(
            path, entry.tags, RawManifest.parse(manifest_json(config, layers)), blobs
        )


def _has_config(image: LayoutImage, config: Digest) -> bool:
    """Return whether an image, or one of an index, has the configuration `config`."""
    document = image.root().document
    if isinstance(document, ImageManifest):
        return document.config.digest == config
    for entry in document.images:
        with contextlib.suppress(NotFoundError):  # of another platform, which was not saved
            part = image.manifest(entry.digest).document
            if isinstance(part, ImageManifest) and part.config.digest == config:
                return True
    return False


@dataclass(frozen=True, slots=True)
class DockerArchiveImage(StoredImage):
    """One image of the archive `path`, with its generated manifest; an ImageSource."""

    path: Path
    tags: tuple[Reference, ...]
    made_manifest: RawManifest
    blobs: Mapping[Digest, Content]

    @property
    def place(self) -> str:
        """The path of the archive."""
        return str(self.path)

    def root(self) -> RawManifest:
        """Return the generated manifest."""
        return self.made_manifest

    @property
    def warnings(self) -> tuple[str, ...]:
        """A warning that the digests differ from the registry's."""
        return (
            f"{self.path} contains no registry manifest: one was generated, so references that pin "
            "this image by digest will not match",
        )

    def manifest(self, target: str | Digest) -> RawManifest:
        """Return the generated manifest when `target` is its digest or tag."""
        if target == self.made_manifest.digest or target in {tag.tag for tag in self.tags}:
            return self.made_manifest
        raise NotFoundError(f"{self.path} has no manifest {target}")

    def blob_content(self, blob: Descriptor) -> Content:
        """Return the blob's extent of the archive as content; see ImageSource."""
        content = self.blobs.get(blob.digest)
        if content is None:
            raise NotFoundError(f"{self.path} has no blob {blob.digest}")
        if content.size != blob.size:
            raise InvalidImageError(
                f"{self.path}: blob {blob.digest} has {content.size} bytes, but its descriptor "
                f"says {blob.size}"
            )
        return content


def _entry(item: object, where: str) -> Entry:
    fields = fields_of(item, f"{where}: image")
    tags = tuple(Reference.parse(text) for text in fields.texts("RepoTags"))
    config = fields.text("Config")
    if not config:
        raise InvalidImageError(f"{fields.where}: Config is missing")
    return Entry(config, fields.texts("Layers"), tags)
