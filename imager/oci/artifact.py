"""OCI artifacts of files: each file is a layer that is titled with its name.

OCI image specification 1.1, manifest.md, Guidelines for Artifact Usage: a manifest with an artifact
type and the empty configuration. The manifest, its subject and the names of the annotations are
those of oras's Python package, and its schema checks the result; the registry client transfers the
bytes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from imager.content.extents import Content
from imager.content.reading import iterate_bytes
from imager.oci.digest import Digest, hashed
from imager.oci.documents import dump_json
from imager.oci.errors import InvalidArtifactError
from imager.oci.manifest import Descriptor, RawManifest
from imager.oci.push import PushBlob
from imager.support.errors import InputError, UnsupportedError
from imager.support.workers import Work

_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_EMPTY = b"{}"
# `annotation_title` of oras, which takes long to load.
TITLE = "org.opencontainers.image.title"
_UNPACK = "io.deis.oras.content.unpack"
_LONGEST_PATH = 255
_PART = r"[A-Za-z0-9_][A-Za-z0-9._+-]*"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*", re.ASCII)


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """A file to push: its title, media type, SHA-256 and content."""

    title: str
    media_type: str
    digest: Digest
    content: Content

    @property
    def layer(self) -> Descriptor:
        """The layer of the file."""
        note = ((TITLE, self.title),)
        return Descriptor(self.media_type, self.digest, self.content.size, annotations=note)


def hashed_file(path: Path, media_type: str, work: Work) -> ArtifactFile:
    """Return the file at `path`, titled with its name, after hashing it.

    Raises as `iterate_bytes`, and CancelledError when the work is cancelled.
    """
    content = Content.of_file(path)

    def pieces() -> Iterator[bytes]:
        for piece in iterate_bytes(content):
            work.check()
            work.advance(len(piece))
            yield piece

    return ArtifactFile(path.name, media_type, hashed(pieces()), content)


@dataclass(frozen=True, slots=True)
class Artifact:
    """Files that are pushed as one artifact; `subject` is the manifest that it describes."""

    artifact_type: str
    files: Sequence[ArtifactFile]
    annotations: Mapping[str, str] = field(default_factory=dict)
    subject: RawManifest | None = None

    def manifest(self) -> RawManifest:
        """Return the manifest; the same files always give the same bytes."""
        import jsonschema
        import oras.oci
        import oras.schemas

        manifest: dict[str, Any] = oras.oci.NewManifest()
        config, _ = oras.oci.ManifestConfig(media_type=_EMPTY_TYPE)
        manifest |= {
            "config": config,
            "layers": [_layer_json(file) for file in self.files],
            "annotations": dict(self.annotations),
            "artifactType": self.artifact_type,
        }
        if self.subject is not None:
            subject = self.subject.descriptor()
            described = oras.oci.Subject(subject.media_type, str(subject.digest), subject.size)
            manifest["subject"] = asdict(described)
        jsonschema.validate(manifest, oras.schemas.manifest)
        return RawManifest.parse(dump_json(manifest))

    def blobs(self) -> Iterator[PushBlob]:
        """Yield the files and the empty configuration as blobs."""
        for file in self.files:
            yield PushBlob(file.layer, file.content)
        empty = Descriptor(_EMPTY_TYPE, Digest.of(_EMPTY), len(_EMPTY))
        yield PushBlob(empty, Content.of_bytes(_EMPTY))


def unique_blobs(artifacts: Iterable[Artifact]) -> tuple[PushBlob, ...]:
    """Return the blobs of `artifacts`, without duplicate digests."""
    blobs = (blob for artifact in artifacts for blob in artifact.blobs())
    return tuple({each.blob.digest: each for each in blobs}.values())


@dataclass(frozen=True, slots=True)
class PulledFile:
    """A file of an artifact: its path in the folder, and its layer."""

    path: PurePosixPath
    layer: Descriptor


def is_title(text: str) -> bool:
    """Return whether `text` is a relative path that is safe on every machine.

    Its parts begin with a letter, a digit or `_`, and contain no other characters than `.+-` too.
    """
    return bool(_PATH.fullmatch(text)) and len(text) <= _LONGEST_PATH


def titled_files(
    layers: Iterable[Descriptor], *, where: str, error: type[InputError] = InvalidArtifactError
) -> tuple[PulledFile, ...]:
    """Return the files of an artifact by the titles of its layers.

    Raises `error` for a title that is not a safe relative path, appears twice, or is also the
    folder of another, UnsupportedError for a folder that oras has packed.
    """
    files = tuple(PulledFile(_path(layer, where, error), layer) for layer in layers)
    _check_tree({file.path for file in files}, len(files), where, error)
    return files


def _layer_json(file: ArtifactFile) -> dict[str, object]:
    layer = file.layer
    return {
        "mediaType": layer.media_type,
        "size": layer.size,
        "digest": str(layer.digest),
        "annotations": dict(layer.annotations),
    }


def _path(layer: Descriptor, where: str, error: type[InputError]) -> PurePosixPath:
    title = layer.annotation(TITLE)
    if not is_title(title):
        raise error(f"{where}: {title[:80]!r} is not a safe path of a file")
    if layer.annotation(_UNPACK) == "true":
        raise UnsupportedError(
            f"{where}: {title} is a packed folder", hint="fetch it with `oras pull`"
        )
    return PurePosixPath(title)


def _check_tree(
    paths: Collection[PurePosixPath], files: int, where: str, error: type[InputError]
) -> None:
    parents = {parent for path in paths for parent in path.parents}
    if len(paths) != files or parents & set(paths):
        raise error(f"{where}: a path appears twice, or is both a file and a folder")
