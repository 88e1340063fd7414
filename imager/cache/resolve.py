"""Resolve a list of images to the contents of a cache by reading manifests, but no blobs."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from imager.cache.contents import Gathered
from imager.cache.errors import InvalidImageListError
from imager.cache.lists import parse_each, placing
from imager.cache.readimage import ReadImage, whole_image
from imager.cache.selection import Choice, MissingPlatform, Selection, choose
from imager.cache.signatures import read_signatures
from imager.oci.config import LARGEST_CONFIG, config_platform, platform_of
from imager.oci.errors import InvalidImageError, NotFoundError
from imager.oci.local import LocalImage, RemoteEntry, parse_entry
from imager.oci.manifest import Descriptor, ImageManifest, Index, RawManifest
from imager.oci.platform import Platform
from imager.oci.reference import Reference
from imager.oci.signature import signed_digest
from imager.oci.source import ImageSource
from imager.support.errors import ImagerError
from imager.support.workers import Work

if TYPE_CHECKING:
    from imager.cache.blobstore import BlobStore
    from imager.oci.registry import RegistryClient


def gather(
    entries: Iterable[str] | Mapping[str, str],
    *,
    client: RegistryClient,
    selection: Selection,
    jobs: int,
    store: BlobStore | None = None,
) -> Gathered:
    """Read the manifests of all `entries`, registry references and local sources, `jobs` at a time.

    Configurations in `store` are not requested. The result does not depend on the order of
    responses. Signatures that exist but cannot be read cause a warning. Raises one error for all
    invalid entries before anything is read. Else raises the error of the failed entry, or one error
    for all if several fail. Each message includes the place of its entry
    if `entries` maps entries to places.
    """
    places = entries if isinstance(entries, Mapping) else dict.fromkeys(entries, "")
    reader = _Reader(client, selection, store)
    gathered = Gathered(wanted=selection.platforms)
    # Before the first request, because requests to an unreachable registry are retried for a while.
    parsed = dict(zip(places, parse_each(places, parse_entry), strict=True))

    def read(entry: str) -> list[ReadImage]:
        with placing(entry, places[entry]):
            return reader.read(parsed[entry])

    def add(found: tuple[str, list[ReadImage]]) -> None:
        entry, images = found
        with placing(entry, places[entry]):
            for image in images:
                _add_image(gathered, image)

    reads = Work().run(read, places, jobs=jobs, what="images", lasting=(ImagerError,))
    found = zip(places, reads, strict=True)
    # Sequential, since the result depends on the order.
    Work().run(add, found, jobs=1, what="images", lasting=(ImagerError,))
    return gathered


def _add_image(gathered: Gathered, image: ReadImage) -> None:
    if image.name is not None:
        gathered.names.add(image.name)
    if image.asked is not None:
        gathered.asked[image.manifests[0][0]] = image.asked
    for name, raw in image.manifests:
        gathered.add_manifest(name, raw)
    for blob in image.blobs:
        gathered.add_blob(blob)
    gathered.platforms |= image.platforms
    for text in image.warnings:
        gathered.add_warning(text)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the images that entries of a list name."""

    client: RegistryClient
    selection: Selection
    store: BlobStore | None

    def read(self, entry: LocalImage | RemoteEntry) -> list[ReadImage]:
        """Return the images of an entry, with their signatures and warnings."""
        match entry:
            case RemoteEntry(name, reference):
                return self._remote(name, reference)
            case LocalImage() as local:
                opened = local.open(self.selection.platforms)
                images = (
                    self._image(name, source, root=source.root()) for name, source in opened.images
                )
                return [ReadImage(warnings=opened.warnings), *images]

    def _remote(self, name: Reference, reference: Reference) -> list[ReadImage]:
        image = self.client.image(reference)
        root, host = image.locate()
        if name.digest not in (None, root.digest):
            raise InvalidImageListError(f"{reference} is not {name}: its digest is {root.digest}")
        read = replace(self._image(name, image, root=root), asked=reference)
        if not self.selection.signatures:
            return [read]
        # If a mirror has the image, the registry itself may be unreachable.
        found = read_signatures(
            image.reference, client=self.client, host=host, signed=root.digest, name=name
        )
        return [read, *found]

    def _image(self, name: Reference, source: ImageSource, *, root: RawManifest) -> ReadImage:
        if isinstance(root.document, Index):
            choice = self._choice(name, source, root, root.document)
            parts, lacking = self._parts(choice.entries, source)
        else:
            choice, parts, lacking = self._only(root.document, source), [root], []
        image = whole_image(name, source, root=root, parts=parts)
        return replace(
            image,
            platforms=choice.platforms,
            warnings=(
                *source.warnings,
                *(f"{name}: {text}" for text in (*choice.warnings, *lacking)),
                *image.warnings,
            ),
            name=image.manifests[0][0],
        )

    def _choice(
        self, name: Reference, source: ImageSource, root: RawManifest, index: Index
    ) -> Choice:
        if signed_digest(name.tag) not in (None, root.digest):
            # Referrers of an image apply to all its platforms, whatever their entries contain.
            return Choice(index.manifests)

        def find(entry: Descriptor) -> Platform | None:
            document = source.manifest(entry.digest).document
            if not isinstance(document, ImageManifest):
                return None
            return platform_of(document, self._own_platform(document, source))

        return choose(index, self.selection, find)

    def _parts(
        self, entries: Iterable[Descriptor], source: ImageSource
    ) -> tuple[list[RawManifest], list[str]]:
        """Return the manifests of entries, and warnings about missing ones."""
        parts, lacking = [], []
        for entry in entries:
            try:
                parts.append(source.manifest(entry.digest))
            except NotFoundError as error:
                part = entry.platform or entry.digest
                what = f"{part} is listed in the index, but missing from the source"
                if self.selection.platforms or self.selection.missing is MissingPlatform.FAIL:
                    raise NotFoundError(
                        f"{what}: {error.message}",
                        hint="select available platforms with --platform; with --platform all, "
                        "--missing-platform warn skips the missing ones",
                    ) from error
                lacking.append(f"{what}; it is left out")
        return parts, lacking

    def _only(self, manifest: ImageManifest, source: ImageSource) -> Choice:
        """Return the choice for an image without an index, whatever its platform."""
        platform = self._own_platform(manifest, source)
        lacking = self.selection.lacking(platform) if platform else ()
        if platform is None or not lacking:
            return Choice((), frozenset({platform} if platform else ()))
        wanted = ", ".join(map(str, lacking))
        text = f"this image is only for {platform}, not for {wanted}; it is cached anyway"
        own = lacking != self.selection.platforms
        return Choice((), frozenset({platform} if own else ()), (text,))

    def _own_platform(self, manifest: ImageManifest, source: ImageSource) -> Platform | None:
        """Return the platform in an image's configuration, or None if there is none."""
        if manifest.is_artifact:
            return None
        return config_platform(self._config(manifest.config, source))

    def _config(self, blob: Descriptor, source: ImageSource) -> bytes:
        if blob.size > LARGEST_CONFIG:
            raise InvalidImageError(
                f"its configuration of {blob.size} bytes exceeds {LARGEST_CONFIG} bytes"
            )
        cached = self.store.read(blob) if self.store else None
        if cached is not None:
            return cached
        buffer = io.BytesIO()
        source.fetch_blob(blob, buffer)
        return buffer.getvalue()
