"""From a list of images to what a cache of them holds: manifests first, before any blob."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from imager.errors import ImagerError, InputError, UnsupportedError, joined
from imager.imagecache.tree import manifest_path
from imager.oci.config import LARGEST_CONFIG, config_platform
from imager.oci.digest import Digest
from imager.oci.endpoint import Endpoint
from imager.oci.local import LocalImage, LocalKind
from imager.oci.manifest import Descriptor, ImageManifest, Index, RawManifest
from imager.oci.platform import Platform
from imager.oci.reference import Reference
from imager.oci.signature import signature_tags
from imager.oci.sinks import Buffer
from imager.oci.source import ImageSource
from imager.workers import worker_pool

if TYPE_CHECKING:
    from imager.imagecache.layercache import LayerCache
    from imager.oci.registry import RegistryClient, RemoteImage

_ALL = "all"


@dataclass(frozen=True, slots=True)
class BlobSource:
    """A blob, and an image source that has it."""

    blob: Descriptor
    source: ImageSource


@dataclass(slots=True)
class Gathered:
    """What a cache of images holds: manifests by their path in the tree, blobs by digest."""

    manifests: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[Digest, BlobSource] = field(default_factory=dict)
    platforms: set[Platform] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """The bytes of all files of the tree."""
        blobs = sum(source.blob.size for source in self.blobs.values())
        return blobs + sum(map(len, self.manifests.values()))

    def add_manifest(self, name: Reference, raw: bytes) -> None:
        """Add a manifest by tag or digest; raises InputError when another one has the tag."""
        if self.manifests.setdefault(manifest_path(name), raw) != raw:
            raise InputError(
                f"another image has the name {name}",
                hint="give each image a name of its own; the platforms of one need an index",
            )

    def add_blob(self, source: BlobSource) -> None:
        """Add a blob, once; raises InputError when it is said to have another size elsewhere."""
        known = self.blobs.setdefault(source.blob.digest, source)
        if known.blob.size != source.blob.size:
            raise InputError(
                f"blob {source.blob.digest} has {source.blob.size} bytes here "
                f"and {known.blob.size} elsewhere"
            )


@dataclass(frozen=True, slots=True)
class Selection:
    """Which platforms are wanted, none means all that an image has; and whether signatures are."""

    platforms: tuple[Platform, ...]
    signatures: bool = False

    @classmethod
    def parse(cls, texts: Iterable[str], *, signatures: bool = False) -> Selection:
        """Return the selection of `all`, or of comma-separated platforms such as linux/amd64.

        Raises InputError when one does not parse.
        """
        names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
        if not names:
            raise InputError("--platform names no platform", hint="write it as linux/amd64")
        if _ALL in names:
            return cls((), signatures)
        return cls(tuple(dict.fromkeys(Platform.parse(name) for name in names)), signatures)

    def entries(self, index: Index) -> tuple[Descriptor, ...]:
        """Return the entries of `index` to cache; raises InputError when a platform is missing."""
        if not self.platforms:
            return index.images
        return tuple(dict.fromkeys(index.select(platform) for platform in self.platforms))


def gather(
    entries: Iterable[str],
    *,
    client: RegistryClient,
    selection: Selection,
    jobs: int,
    layer_cache: LayerCache | None = None,
) -> Gathered:
    """Read the manifests of all `entries`, registry references and local sources, `jobs` at a time.

    Configurations that `layer_cache` has are not asked for. What comes out does not depend on the
    order in which they answer. Signatures that are there and cannot be had are a warning. Raises
    the error of the one that failed, or one that names all when there are several.
    """
    gathered = Gathered()
    failures: list[ImagerError] = []
    reader = _Reader(client, selection, layer_cache)
    with worker_pool(jobs, "gather") as pool:
        reads = [(each, pool.submit(reader.read, each)) for each in entries]
        for entry, read in reads:
            try:
                _add_entry(gathered, read.result())
            except ImagerError as error:
                failures.append(type(error)(f"{entry}: {error.message}", hint=error.hint))
    if failures:
        raise joined(failures, what="images")
    return gathered


@dataclass(frozen=True, slots=True)
class _Image:
    """An image, or what signs one, as it was read: manifests by their names, and blobs."""

    manifests: tuple[tuple[Reference, bytes], ...] = ()
    blobs: tuple[BlobSource, ...] = ()
    platforms: frozenset[Platform] = frozenset()
    warnings: tuple[str, ...] = ()


def _add_entry(gathered: Gathered, images: Iterable[_Image]) -> None:
    for image in images:
        for name, raw in image.manifests:
            gathered.add_manifest(name, raw)
        for blob in image.blobs:
            gathered.add_blob(blob)
        gathered.platforms |= image.platforms
        gathered.warnings += image.warnings


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads what entries of a list name."""

    client: RegistryClient
    selection: Selection
    layer_cache: LayerCache | None

    def read(self, entry: str) -> tuple[_Image, ...]:
        local = LocalImage.parse(entry)
        if local is None:
            return tuple(self._remote(Reference.parse(entry)))
        return tuple(
            self._image(name, source, root=source.root())
            for name, source in _opened(local, self.selection)
        )

    def _remote(self, reference: Reference) -> Iterator[_Image]:
        image = self.client.image(reference)
        root, host = image.locate()
        yield self._image(reference, image, root=root)
        for tag in signature_tags(root.digest) if self.selection.signatures else ():
            name = replace(reference, tag=tag, digest=None)
            # Of a mirror's image, the registry itself need not be within reach.
            yield _read_signatures(name, self.client.image(name), host=host, signed=root.digest)

    def _image(self, name: Reference, source: ImageSource, *, root: RawManifest) -> _Image:
        if isinstance(root.document, Index):
            entries = self.selection.entries(root.document)
            parts = [source.manifest(entry.digest) for entry in entries]
            platforms = {entry.platform.normalised() for entry in entries if entry.platform}
        else:
            parts = [root]
            platforms = {self._own_platform(root.document, source)}
        image = _whole(name, source, root=root, parts=parts)
        return replace(image, platforms=frozenset(platforms), warnings=source.warnings)

    def _own_platform(self, manifest: ImageManifest, source: ImageSource) -> Platform:
        """Return the platform that an image's configuration tells."""
        platform = config_platform(self._config(manifest.config, source))
        if platform is None:
            raise InputError("its configuration names no platform")
        wanted = self.selection.platforms
        if wanted and not any(platform.matches(each) for each in wanted):
            raise InputError(
                f"it is an image for {platform} alone, not for {', '.join(map(str, wanted))}",
                hint="ask for its platform with --platform, or name a multi-platform image",
            )
        return platform

    def _config(self, blob: Descriptor, source: ImageSource) -> bytes:
        if blob.size > LARGEST_CONFIG:
            raise InputError(f"its configuration has {blob.size} bytes, more than any has")
        cached = self.layer_cache.read(blob) if self.layer_cache else None
        if cached is not None:
            return cached
        buffer = Buffer()
        source.fetch_blob(blob, buffer)
        return bytes(buffer.data)


def _opened(local: LocalImage, selection: Selection) -> Iterator[tuple[Reference, ImageSource]]:
    # A layout may have an entry of its own for each platform of a name.
    several = local.kind is LocalKind.LAYOUT and selection.platforms
    for platform in selection.platforms if several else (None,):
        yield local.open(platform=platform)


def _read_signatures(
    name: Reference, image: RemoteImage, *, host: Endpoint, signed: Digest
) -> _Image:
    """Read what is under a tag for signatures: all of it or, with a warning, nothing."""
    try:
        root = image.find_at(host)
        # Some tag an image by its own digest.
        if root is None or root.digest == signed:
            return _Image()
        parts = [root]
        if isinstance(root.document, Index):
            parts = [image.manifest(entry.digest) for entry in root.document.manifests]
        return _whole(name, image, root=root, parts=parts)
    except (InputError, UnsupportedError) as error:
        return _Image(warnings=(f"signatures are left out: {error.message}",))


def _whole(
    name: Reference, source: ImageSource, *, root: RawManifest, parts: Sequence[RawManifest]
) -> _Image:
    names = [(name, root), *((replace(name, tag=None), part) for part in parts)]
    return _Image(
        tuple((each, manifest.raw) for key, manifest in names for each in _names(key, manifest)),
        tuple(blob for part in parts for blob in _blobs(part, source)),
    )


def _names(name: Reference, manifest: RawManifest) -> Iterator[Reference]:
    """Yield the names under which a manifest is cached: its tag, if any, and its digest."""
    if name.tag is not None:
        yield replace(name, digest=None)
    yield replace(name, tag=None, digest=manifest.digest)


def _blobs(manifest: RawManifest, source: ImageSource) -> Iterator[BlobSource]:
    if not isinstance(manifest.document, ImageManifest):
        raise InputError(f"manifest {manifest.digest} is an index inside of an index")
    for blob in manifest.document.blobs:
        yield BlobSource(blob, source)
