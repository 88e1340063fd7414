"""An image cache as a value: its files, and what its manifests say of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from imager.arch import Arch
from imager.checks import Check
from imager.errors import InputError
from imager.extents import Content, FileRange
from imager.imagecache.tree import BlobPath, ManifestPath, parse_path
from imager.oci.config import LARGEST_CONFIG, config_platform
from imager.oci.digest import Digest
from imager.oci.manifest import ImageManifest, Index, RawManifest
from imager.oci.platform import Platform
from imager.oci.reference import Reference

LARGEST_MANIFEST = 4 << 20
_SHOWN = 5
_DAMAGED = "the cache is damaged: copy or create it again"


@dataclass(frozen=True, slots=True)
class CacheFile:
    """A file of the tree.

    `sha256` (hex) is set when opening the cache has hashed the file already, `data` when it lies
    in a compressed source and is small.
    """

    path: str
    content: Content
    sha256: str | None = None
    data: bytes | None = None

    def read(self, limit: int) -> bytes | None:
        """Return the bytes of a file of at most `limit` bytes, None where they are not at hand."""
        if self.data is not None or self.content.size > limit:
            return self.data
        parts = []
        for extent in self.content.extents:
            if not isinstance(extent.source, FileRange):
                return None
            with extent.source.path.open("rb") as source:
                source.seek(extent.source.offset)
                parts.append(source.read(extent.length))
        return b"".join(parts)


@dataclass(frozen=True)
class ImageCache:
    """A cache whose manifests have been read and checked; blobs are checked when copied.

    `files` are in the order in which they should be written. `config_platforms` has, by the
    digest of their manifests, the platforms that images tell of themselves. `containers` are
    checks of what the files lie in (an uncompressed layer). `source` names where it came from.
    """

    source: str
    files: tuple[CacheFile, ...]
    manifests: Mapping[Reference, RawManifest]
    blobs: Mapping[Digest, CacheFile]
    config_platforms: Mapping[Digest, Platform]
    containers: tuple[Check, ...] = ()
    ignored: int = 0

    @cached_property
    def images(self) -> tuple[Reference, ...]:
        """The images under the names that a machine may ask for: tags, and digests with none."""
        tagged = {
            (reference.name, manifest.digest)
            for reference, manifest in self.manifests.items()
            if reference.tag
        }
        parts = {
            (reference.name, entry.digest)
            for reference, manifest in self.manifests.items()
            if isinstance(manifest.document, Index)
            for entry in manifest.document.manifests
        }
        return tuple(
            sorted(
                (
                    reference
                    for reference, manifest in self.manifests.items()
                    if reference.tag or (reference.name, manifest.digest) not in tagged | parts
                ),
                key=str,
            )
        )

    @cached_property
    def platforms(self) -> tuple[Platform, ...]:
        """The platforms of the images: an index tells them, else an image's configuration."""
        indexed = {
            entry.platform.normalised()
            for reference, manifest in self.manifests.items()
            if isinstance(manifest.document, Index)
            for entry in manifest.document.images
            if entry.platform and self._part(reference, entry.digest)
        }
        own = {
            self.config_platforms[digest]
            for digest in (self.manifests[reference].digest for reference in self.images)
            if digest in self.config_platforms
        }
        return tuple(sorted(indexed | own))

    @cached_property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.content.size for file in self.files)

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """The digests still to be checked: every blob, and what the blobs lie in."""
        blobs = (
            Check(f"blob {digest}", extent.source, extent.length, digest.hex)
            for digest, file in self.blobs.items()
            if file.sha256 is None
            for extent in file.content.extents
            if isinstance(extent.source, FileRange)
        )
        return (*self.containers, *blobs)

    def _part(self, reference: Reference, digest: Digest) -> RawManifest | None:
        return self.manifests.get(Reference(reference.registry, reference.repository, None, digest))

    def require_arch(self, arch: Arch) -> None:
        """Raise InputError unless every image is complete for linux on `arch`.

        Images that are for another platform alone (`foreign`) may be there beside others.
        """
        problems = [
            problem
            for reference in self.images
            for problem in self._incomplete(reference, Platform("linux", arch.name))
        ]
        if problems:
            raise InputError(
                f"image cache {self.source} is incomplete for {arch.name}: {_listed(problems)}",
                hint=f"create it again with --platform linux/{arch.name}",
            )
        if len(self.foreign(arch)) == len(self.images):
            there = ", ".join(map(str, self.platforms))
            raise InputError(
                f"image cache {self.source} has no image for {arch.name}, only for {there}",
                hint=f"create it again with --platform linux/{arch.name}",
            )

    def foreign(self, arch: Arch) -> tuple[Reference, ...]:
        """Return the images that say of themselves that they are not for linux on `arch`."""
        wanted = ("linux", arch.name)
        return tuple(
            reference
            for reference in self.images
            if (own := self.config_platforms.get(self.manifests[reference].digest))
            and (own.os, own.architecture) != wanted
        )

    def _incomplete(self, reference: Reference, platform: Platform) -> Iterable[str]:
        manifest = self.manifests[reference]
        if isinstance(manifest.document, Index):
            entries = [
                entry
                for entry in manifest.document.images
                if entry.platform is not None
                and (entry.platform.os, entry.platform.normalised().architecture)
                == (platform.os, platform.architecture)
            ]
            parts = [part for entry in entries if (part := self._part(reference, entry.digest))]
            if not parts:
                yield f"{reference} has no manifest for {platform}"
        else:
            parts = [manifest]
        for part in parts:
            yield from self._lacks(reference, part)

    def _lacks(self, reference: Reference, manifest: RawManifest) -> Iterable[str]:
        document = manifest.document
        if not isinstance(document, ImageManifest):
            yield f"{reference} is an index of indexes"
            return
        for blob in document.blobs:
            file = self.blobs.get(blob.digest)
            if file is None:
                yield f"{reference} lacks blob {blob.digest}"
            elif file.content.size != blob.size:
                yield (
                    f"{reference}: blob {blob.digest} has {file.content.size} bytes, "
                    f"not {blob.size}"
                )

    def require_images(self, references: Iterable[Reference]) -> None:
        """Raise InputError naming every one of `references` that the cache lacks."""
        missing = [str(reference) for reference in references if not self.has(reference)]
        if missing:
            raise InputError(
                f"image cache {self.source} lacks {len(missing)} required images: "
                f"{', '.join(missing)}",
                hint="add them to the list of `imager images cache-create` and create it again",
            )

    def has(self, reference: Reference) -> bool:
        """Whether a machine that asks for `reference` finds it: by digest if it has one."""
        if reference.digest is not None:
            return self._part(reference, reference.digest) is not None
        return reference in self.manifests


def load_cache(source: str, files: Iterable[CacheFile]) -> ImageCache:
    """Return the cache of `files`.

    Every manifest must be what its name or its digest copy says. Raises InputError when one is
    not, or when there is none.
    """
    known: list[CacheFile] = []
    manifests: dict[Reference, RawManifest] = {}
    blobs: dict[Digest, CacheFile] = {}
    # The same bytes stand under a tag and a digest, and often in several repositories.
    parsed: dict[bytes, RawManifest] = {}
    ignored = 0
    for file in files:
        match parse_path(file.path):
            case BlobPath(digest):
                blobs[digest] = _checked_blob(source, file, digest)
            case ManifestPath(reference):
                manifest = _checked_manifest(source, file, reference)
                manifests[reference] = parsed.setdefault(manifest.raw, manifest)
            case None:
                ignored += 1
                continue
        known.append(file if file.data is None else replace(file, data=None))
    if not manifests:
        raise InputError(
            f"{source} is not an image cache: there are no manifests in it",
            hint="create one with `imager images cache-create`",
        )
    _check_tags(source, manifests)
    configs = _read_configs(source, manifests.values(), blobs)
    return ImageCache(
        source,
        tuple(known),
        manifests,
        blobs={digest: _without_data(file, digest, configs) for digest, file in blobs.items()},
        config_platforms=_config_platforms(manifests.values(), configs),
        ignored=ignored,
    )


def _read_configs(
    source: str, manifests: Iterable[RawManifest], blobs: Mapping[Digest, CacheFile]
) -> Mapping[Digest, bytes]:
    """Return the images' configurations that are at hand, checked, by their digest."""
    wanted = {
        manifest.document.config.digest
        for manifest in manifests
        if isinstance(manifest.document, ImageManifest)
    }
    configs: dict[Digest, bytes] = {}
    for digest in wanted & blobs.keys():
        data = blobs[digest].read(LARGEST_CONFIG)
        if data is not None and Digest.of(data) != digest:
            raise InputError(f"{source}: blob {digest} does not match its digest", hint=_DAMAGED)
        if data is not None:
            configs[digest] = data
    return configs


def _without_data(file: CacheFile, digest: Digest, configs: Mapping[Digest, bytes]) -> CacheFile:
    """Return a blob without its bytes; one that was read as a configuration is checked already."""
    checked = digest.hex if digest in configs else file.sha256
    if (file.data, file.sha256) == (None, checked):
        return file
    return replace(file, data=None, sha256=checked)


def _config_platforms(
    manifests: Iterable[RawManifest], configs: Mapping[Digest, bytes]
) -> Mapping[Digest, Platform]:
    return {
        manifest.digest: platform
        for manifest in manifests
        if isinstance(manifest.document, ImageManifest)
        and (data := configs.get(manifest.document.config.digest)) is not None
        and (platform := config_platform(data)) is not None
    }


def _checked_blob(source: str, file: CacheFile, digest: Digest) -> CacheFile:
    if file.sha256 is not None and file.sha256 != digest.hex:
        raise InputError(f"{source}: blob {digest} does not match its digest", hint=_DAMAGED)
    return file


def _checked_manifest(source: str, file: CacheFile, reference: Reference) -> RawManifest:
    data = file.read(LARGEST_MANIFEST)
    if data is None:
        raise InputError(f"{source}: {file.path} is too large for a manifest", hint=_DAMAGED)
    manifest = RawManifest.parse(data, where=f"{source}: {file.path}")
    if reference.digest not in (None, manifest.digest):
        raise InputError(f"{source}: {file.path} does not match its digest", hint=_DAMAGED)
    return manifest


def _check_tags(source: str, manifests: Mapping[Reference, RawManifest]) -> None:
    """Check tags by the copy under digest/: a tag's own file has no digest in its name."""
    for reference, manifest in manifests.items():
        copy = Reference(reference.registry, reference.repository, None, manifest.digest)
        if copy not in manifests:
            raise InputError(
                f"{source}: the manifest of {reference} is damaged, or its copy "
                f"digest/{manifest.digest.file_name} is missing",
                hint=_DAMAGED,
            )


def _listed(problems: list[str]) -> str:
    more = len(problems) - _SHOWN
    return "; ".join(problems[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
