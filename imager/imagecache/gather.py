"""From a list of images to what a cache of them holds: manifests first, before any blob."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from imager.errors import ImagerError, InputError
from imager.imagecache.tree import manifest_path
from imager.oci.config import LARGEST_CONFIG, config_platform
from imager.oci.digest import Digest
from imager.oci.local import LocalImage, LocalKind
from imager.oci.manifest import Descriptor, ImageManifest, Index, RawManifest
from imager.oci.platform import Platform
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.oci.source import ImageSource
from imager.workers import worker_pool

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
    """Which platforms are wanted; none means all that an image has."""

    platforms: tuple[Platform, ...]

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Selection:
        """Return the selection of `all`, or of comma-separated platforms such as linux/amd64.

        Raises InputError when one does not parse.
        """
        names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
        if not names:
            raise InputError("--platform names no platform", hint="write it as linux/amd64")
        if _ALL in names:
            return cls(())
        return cls(tuple(dict.fromkeys(Platform.parse(name) for name in names)))

    def entries(self, index: Index) -> tuple[Descriptor, ...]:
        """Return the entries of `index` to cache; raises InputError when a platform is missing."""
        if not self.platforms:
            return index.images
        return tuple(dict.fromkeys(index.select(platform) for platform in self.platforms))


def gather(
    entries: Iterable[str], *, client: RegistryClient, selection: Selection, jobs: int
) -> Gathered:
    """Read the manifests of all `entries`, registry references and local sources, `jobs` at a time.

    What comes out does not depend on the order in which they answer. Raises the error of the one
    that failed, or one that names all when there are several.
    """
    gathered = Gathered()
    failures: list[ImagerError] = []
    with worker_pool(jobs, "gather") as pool:
        reads = [(each, pool.submit(_read_entry, each, client, selection)) for each in entries]
        for entry, read in reads:
            try:
                _add_entry(gathered, read.result())
            except ImagerError as error:
                failures.append(type(error)(f"{entry}: {error.message}", hint=error.hint))
    if len(failures) == 1:
        raise failures[0]
    if failures:
        listed = "".join(f"\n  {failure.message}" for failure in failures)
        raise type(failures[0])(f"{len(failures)} images failed:{listed}", hint=failures[0].hint)
    return gathered


@dataclass(frozen=True, slots=True)
class _Image:
    """An image as it was read: manifests by their names, and blobs."""

    manifests: tuple[tuple[Reference, bytes], ...]
    blobs: tuple[BlobSource, ...]
    platforms: frozenset[Platform]
    warnings: tuple[str, ...]


def _add_entry(gathered: Gathered, images: Iterable[_Image]) -> None:
    for image in images:
        for name, raw in image.manifests:
            gathered.add_manifest(name, raw)
        for blob in image.blobs:
            gathered.add_blob(blob)
        gathered.platforms |= image.platforms
        gathered.warnings += image.warnings


def _read_entry(entry: str, client: RegistryClient, selection: Selection) -> tuple[_Image, ...]:
    return tuple(
        _read_image(name, source, selection) for name, source in _sources(entry, client, selection)
    )


def _sources(
    entry: str, client: RegistryClient, selection: Selection
) -> Iterator[tuple[Reference, ImageSource]]:
    local = LocalImage.parse(entry)
    if local is None:
        reference = Reference.parse(entry)
        yield reference, client.image(reference)
        return
    # A layout may have an entry of its own for each platform of a name.
    several = local.kind is LocalKind.LAYOUT and selection.platforms
    for platform in selection.platforms if several else (None,):
        yield local.open(platform=platform)


def _read_image(name: Reference, source: ImageSource, selection: Selection) -> _Image:
    root = source.root()
    if isinstance(root.document, Index):
        entries = selection.entries(root.document)
        parts = [source.manifest(entry.digest) for entry in entries]
        platforms = {entry.platform.normalised() for entry in entries if entry.platform}
    else:
        parts = [root]
        platforms = {_own_platform(root.document, source, selection)}
    names = [(name, root), *((replace(name, tag=None), part) for part in parts)]
    return _Image(
        tuple((each, manifest.raw) for key, manifest in names for each in _names(key, manifest)),
        tuple(blob for part in parts for blob in _blobs(part, source)),
        frozenset(platforms),
        source.warnings,
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


def _own_platform(manifest: ImageManifest, source: ImageSource, selection: Selection) -> Platform:
    platform = _platform_of(manifest, source)
    if selection.platforms and not any(platform.matches(each) for each in selection.platforms):
        wanted = ", ".join(map(str, selection.platforms))
        raise InputError(
            f"it is an image for {platform} alone, not for {wanted}",
            hint="ask for its platform with --platform, or name a multi-platform image",
        )
    return platform


class _Buffer:
    """A sink that keeps what it gets; its writer bounds that."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> None:
        """Keep `data`."""
        self.data += data


def _platform_of(manifest: ImageManifest, source: ImageSource) -> Platform:
    """Return the platform that an image's configuration tells."""
    if manifest.config.size > LARGEST_CONFIG:
        raise InputError(f"its configuration has {manifest.config.size} bytes, more than any has")
    buffer = _Buffer()
    source.fetch_blob(manifest.config, buffer)
    platform = config_platform(bytes(buffer.data))
    if platform is None:
        raise InputError("its configuration names no platform")
    return platform
