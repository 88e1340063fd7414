"""From a list of images to what a cache of them holds: manifests first, before any blob."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
    entries: Iterable[str],
    *,
    client: RegistryClient,
    selection: Selection,
    warn: Callable[[str], None],
) -> Gathered:
    """Read the manifests of all `entries`: registry references and local sources.

    Raises the error of the one that failed, or InputError naming all when there are several.
    """
    gathered = Gathered()
    failures: list[ImagerError] = []
    for entry in entries:
        try:
            for name, source in _sources(entry, client, selection, warn):
                _add_image(gathered, name, source, selection)
        except ImagerError as error:
            failures.append(type(error)(f"{entry}: {error.message}", hint=error.hint))
    if len(failures) == 1:
        raise failures[0]
    if failures:
        listed = "".join(f"\n  {failure.message}" for failure in failures)
        raise type(failures[0])(f"{len(failures)} images failed:{listed}", hint=failures[0].hint)
    return gathered


def _sources(
    entry: str, client: RegistryClient, selection: Selection, warn: Callable[[str], None]
) -> Iterator[tuple[Reference, ImageSource]]:
    local = LocalImage.parse(entry)
    if local is None:
        reference = Reference.parse(entry)
        yield reference, client.image(reference)
        return
    # A layout may have an entry of its own for each platform of a name.
    several = local.kind is LocalKind.LAYOUT and selection.platforms
    for platform in selection.platforms if several else (None,):
        name, source = local.open(platform=platform)
        for warning in source.warnings:
            warn(warning)
        yield name, source


def _add_image(
    gathered: Gathered, name: Reference, source: ImageSource, selection: Selection
) -> None:
    root = source.root()
    _add_manifest(gathered, name, root)
    if isinstance(root.document, Index):
        for entry in selection.entries(root.document):
            manifest = source.manifest(entry.digest)
            _add_manifest(gathered, replace(name, tag=None), manifest)
            _add_blobs(gathered, manifest, source)
            if entry.platform is not None:
                gathered.platforms.add(entry.platform.normalised())
        return
    _add_blobs(gathered, root, source)
    platform = _platform_of(root.document, source)
    if selection.platforms and not any(platform.matches(each) for each in selection.platforms):
        wanted = ", ".join(map(str, selection.platforms))
        raise InputError(
            f"it is an image for {platform} alone, not for {wanted}",
            hint="ask for its platform with --platform, or name a multi-platform image",
        )
    gathered.platforms.add(platform)


def _add_manifest(gathered: Gathered, name: Reference, manifest: RawManifest) -> None:
    if name.tag is not None:
        tagged = replace(name, digest=None)
        if gathered.manifests.setdefault(manifest_path(tagged), manifest.raw) != manifest.raw:
            raise InputError(
                f"another image has the name {tagged}",
                hint="give each image a name of its own; the platforms of one need an index",
            )
    gathered.manifests[manifest_path(replace(name, tag=None, digest=manifest.digest))] = (
        manifest.raw
    )


def _add_blobs(gathered: Gathered, manifest: RawManifest, source: ImageSource) -> None:
    if not isinstance(manifest.document, ImageManifest):
        raise InputError(f"manifest {manifest.digest} is an index inside of an index")
    for blob in manifest.document.blobs:
        known = gathered.blobs.setdefault(blob.digest, BlobSource(blob, source))
        if known.blob.size != blob.size:
            raise InputError(
                f"blob {blob.digest} has {blob.size} bytes here and {known.blob.size} elsewhere"
            )


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
