"""Archives of `docker save`, and of podman and skopeo's `docker-archive:`.

Docker image specification 1.2, "Combined Image JSON + Filesystem Changeset Format"
(https://github.com/moby/moby/blob/master/image/spec/v1.2.md). An archive has no registry
manifest, so an OCI one is made of what it holds, always the same one; digests that a registry
gave the image do not match it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

import zstandard

from imager.compression import MAGIC
from imager.errors import InputError, OutputError
from imager.extents import Codec, Content
from imager.oci.digest import Digest
from imager.oci.documents import MAX_DOCUMENT, fields_of, load_fields, load_json
from imager.oci.manifest import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    Descriptor,
    RawManifest,
    manifest_json,
)
from imager.oci.reference import Reference
from imager.oci.source import CHUNK, BlobCheck, ByteSink, LocalRange, NotFoundError
from imager.oci.tarindex import read_tar_index
from imager.units import format_size

if TYPE_CHECKING:
    from typing_extensions import Buffer


@dataclass(frozen=True, slots=True)
class _Entry:
    """One image as the archive's manifest.json lists it: names of members, and its tags."""

    config: str
    layers: tuple[str, ...]
    tags: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class DockerArchive:
    """An opened archive: where its files lie and which images it lists."""

    path: Path
    files: Mapping[str, LocalRange]
    entries: tuple[_Entry, ...]

    @classmethod
    def open(cls, path: Path) -> DockerArchive:
        """Return the archive `path`; reads headers and manifest.json, no layer.

        Raises InputError when it is not one, UnsupportedError when it is compressed.
        """
        files = read_tar_index(path)
        if "manifest.json" not in files:
            raise InputError(
                f"{path} is not a Docker archive: it has no manifest.json",
                hint="docker save IMAGE -o FILE makes one",
            )
        where = f"{path}: manifest.json"
        listed = load_json(_small_file(files["manifest.json"], where), where=where)
        if not isinstance(listed, list):
            raise InputError(f"{where} must be a list")
        return cls(path, files, tuple(_entry(item, where) for item in listed))

    @property
    def tags(self) -> tuple[Reference, ...]:
        """The names of all images in the archive."""
        return tuple(tag for entry in self.entries for tag in entry.tags)

    def select(self, *, tag: Reference | None = None) -> DockerArchiveImage:
        """Return the image tagged `tag`, or the only one; reads each of its layers once.

        Raises InputError when there is none or several, or when the layers are not what the
        configuration says.
        """
        found = [entry for entry in self.entries if tag is None or tag in entry.tags]
        if len(found) != 1:
            what = "no image" if not found else f"{len(found)} images"
            names = ", ".join(str(name) for name in self.tags)
            raise InputError(
                f"{self.path} has {what}{f' for {tag}' if tag else ''}",
                hint=f"name one of: {names or 'nothing, no image is tagged'}",
            )
        return self._image(found[0])

    def _image(self, entry: _Entry) -> DockerArchiveImage:
        where = f"{self.path}: {entry.config}"
        config_range = self._file(entry.config)
        raw = _small_file(config_range, where)
        rootfs = load_fields(raw, where=where).child("rootfs")
        diff_ids = rootfs.texts("diff_ids") if rootfs else ()
        if len(diff_ids) != len(entry.layers):
            raise InputError(
                f"{where} lists {len(diff_ids)} layers, the archive has {len(entry.layers)}"
            )
        config = Descriptor(OCI_CONFIG, Digest.of(raw), len(raw))
        ranges = [self._file(name) for name in entry.layers]
        layers = [
            _layer(layer, diff_id, f"{self.path}: {name}")
            for layer, diff_id, name in zip(ranges, diff_ids, entry.layers, strict=True)
        ]
        blobs = {blob.digest: place for blob, place in zip(layers, ranges, strict=True)}
        blobs[config.digest] = config_range
        return DockerArchiveImage(
            self.path, entry.tags, RawManifest.parse(manifest_json(config, layers)), blobs
        )

    def _file(self, name: str) -> LocalRange:
        place = self.files.get(name)
        if place is None:
            raise InputError(
                f"{self.path}: {name} is missing", hint="the archive is incomplete: save it again"
            )
        return place


@dataclass(frozen=True, slots=True)
class DockerArchiveImage:
    """One image of an archive, with the manifest made for it; an ImageSource."""

    path: Path
    tags: tuple[Reference, ...]
    made_manifest: RawManifest
    blobs: Mapping[Digest, LocalRange]

    def root(self) -> RawManifest:
        """Return the manifest made for the image."""
        return self.made_manifest

    @property
    def warnings(self) -> tuple[str, ...]:
        """That the registry's digests are lost."""
        return (
            f"{self.path} holds no registry manifest: one was made, so references that pin "
            "this image by digest will not match",
        )

    def manifest(self, target: str | Digest) -> RawManifest:
        """Return the manifest made for the image, when `target` is its digest or tag."""
        if target == self.made_manifest.digest or target in {tag.tag for tag in self.tags}:
            return self.made_manifest
        raise NotFoundError(f"{self.path} has no manifest {target}")

    def _locate(self, blob: Descriptor) -> LocalRange:
        place = self.blobs.get(blob.digest)
        if place is None:
            raise NotFoundError(f"{self.path} has no blob {blob.digest}")
        if place.size != blob.size:
            raise InputError(f"{self.path}: blob {blob.digest} has {place.size} bytes")
        return place

    def blob_content(self, blob: Descriptor) -> Content:
        """Return the blob's place in the archive as content; see ImageSource."""
        return self._locate(blob).content()

    def fetch_blob(self, blob: Descriptor, sink: ByteSink, *, have: Iterable[bytes] = ()) -> None:
        """Write the blob to `sink`, checked; see ImageSource."""
        check = BlobCheck(blob, sink, where=f"{self.path}: blob {blob.digest}", error=InputError)
        self._locate(blob).copy_blob(check, have=have)


def _entry(item: object, where: str) -> _Entry:
    fields = fields_of(item, f"{where}: image")
    tags = tuple(Reference.parse(text) for text in fields.texts("RepoTags"))
    config = fields.text("Config")
    if not config:
        raise InputError(f"{fields.where}: Config is missing")
    return _Entry(config, fields.texts("Layers"), tags)


def _small_file(place: LocalRange, where: str) -> bytes:
    if place.size > MAX_DOCUMENT:
        raise InputError(f"{where} is larger than {format_size(MAX_DOCUMENT)}")
    buffer = io.BytesIO()
    place.copy_to(buffer)
    return buffer.getvalue()


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _HashedRange(io.RawIOBase):
    """A file's range as a stream that hashes what is read of it."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        super().__init__()
        self._file = file
        self._left = size
        self.hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer)
        data = self._file.read(min(len(view), self._left))
        view[: len(data)] = data
        self._left -= len(data)
        self.hash.update(data)
        return len(data)


def _layer(place: LocalRange, diff_id: str, where: str) -> Descriptor:
    """Return the descriptor of a layer, checked against the diff id of the configuration."""
    try:
        blob, found = _hashed(place)
    except (gzip.BadGzipFile, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise InputError(f"{where} does not decompress: {error}") from error
    except OSError as error:
        raise OutputError(f"cannot read {place.path}: {error.strerror}") from error
    if str(found) != diff_id:
        raise InputError(
            f"{where} is not the layer of its configuration: expected {diff_id}, got {found}",
            hint="the archive is damaged or was changed: save it again",
        )
    return blob


def _hashed(place: LocalRange) -> tuple[Descriptor, Digest]:
    """Return the layer's descriptor and the digest of its decompressed bytes, in one pass."""
    with place.path.open("rb") as file:
        file.seek(place.offset)
        magic = file.read(4)
        file.seek(place.offset)
        stored = _HashedRange(file, place.size)
        media_type, stream = _opened(io.BufferedReader(stored, CHUNK), magic)
        plain = hashlib.sha256()
        while data := stream.read(CHUNK):
            plain.update(data)
        # A decompressor may stop before the end of what is stored.
        while stored.read(CHUNK):
            pass
    blob = Descriptor(media_type, Digest(stored.hash.hexdigest()), place.size)
    return blob, Digest(plain.hexdigest())


def _opened(stored: io.BufferedReader, magic: bytes) -> tuple[str, _Stream]:
    # Docker's containerd store saves layers as they came from the registry.
    if magic.startswith(MAGIC[Codec.GZIP]):
        return OCI_LAYER_GZIP, gzip.GzipFile(fileobj=stored)
    if magic.startswith(MAGIC[Codec.ZSTD]):
        reader = zstandard.ZstdDecompressor().stream_reader(stored, read_across_frames=True)
        return OCI_LAYER_ZSTD, reader
    return OCI_LAYER, stored
