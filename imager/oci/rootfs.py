"""Read files by path out of an image's layers, fetching only the layers that are needed.

    image = ImageRoot.open(source, Platform("linux", "amd64"), where="...", fetch=...)
    image.files().tree()                                         all files, of all layers
    next(top for top in image.tops() if top.find("a/b"))         from the top layer down to a/b

What a layer has at a path is not changed by the layers below it, so that a reader who looks for
some files need not fetch all layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from imager.content.extents import Content
from imager.content.rootfiles import RootFiles
from imager.oci.config import LARGEST_CONFIG, config_platform
from imager.oci.digest import Digest
from imager.oci.documents import load_fields
from imager.oci.errors import InvalidImageError
from imager.oci.layerfiles import Entry, layer_entries
from imager.oci.manifest import Descriptor, ImageManifest, Index, RawManifest
from imager.oci.plainfile import PlainStreams
from imager.oci.platform import Platform
from imager.oci.roottree import RootTree
from imager.oci.source import ImageSource
from imager.support.errors import ImagerError
from imager.support.units import count

# Returns a layer's bytes on disk, checked against its digest.
Fetch = Callable[[Descriptor], Content]

# overlayfs mounts 500 layers at most, and engines make 127.
_MOST_LAYERS = 500
_MOST_ENTRIES = 1_000_000
_DEEPEST_INDEX = 2


@dataclass(frozen=True, slots=True)
class ImageRoot:
    """The root file system of one image of a source; created with `open`.

    `where` names the image in messages. `root` is the digest of the source's manifest or index,
    `manifest` the image's own, `config` its configuration as JSON, and `platform` that of its
    configuration, if it has one.
    """

    where: str
    root: Digest
    manifest: RawManifest
    layers: tuple[Descriptor, ...]
    config: bytes
    labels: Mapping[str, str]
    platform: Platform | None
    fetch: Fetch

    @classmethod
    def open(
        cls, source: ImageSource, platform: Platform, *, where: str, fetch: Fetch
    ) -> ImageRoot:
        """Open the image of `source` that is for `platform`; reads manifests and configuration.

        A single image is opened whatever its platform. Raises InputError if an index has no image
        for `platform`, or if it is not a container image, and as ImageSource.
        """
        root = source.root()
        manifest = _select(source, root, platform, where)
        document = manifest.document
        if not isinstance(document, ImageManifest) or document.is_artifact:
            raise InvalidImageError(
                f"{where} is not a container image", hint="give the reference of an image"
            )
        if len(document.layers) > _MOST_LAYERS:
            raise InvalidImageError(f"{where} has {count(len(document.layers), 'layer')}")
        config = _config(source, document.config, where)
        return cls(
            where,
            root.digest,
            manifest,
            document.layers,
            config,
            _labels(config, where),
            config_platform(config),
            fetch,
        )

    def tops(self) -> Iterator[RootTree]:
        """Yield the files of the topmost layer, of the two topmost, and so on, to those of all.

        A layer is fetched when its turn comes. Raises InputError for a damaged or hostile layer,
        and as `fetch`.
        """
        layers: list[tuple[Entry, ...]] = []
        for layer in reversed(self.layers):
            layers.insert(0, layer_entries(self.fetch(layer), where=self._name(layer)))
            if sum(map(len, layers)) > _MOST_ENTRIES:
                raise InvalidImageError(f"{self.where} has more than {_MOST_ENTRIES} files")
            yield self._tree(layers)

    def files(self) -> RootTree:
        """Return the files of all layers; raises as `tops`."""
        layers = [layer_entries(self.fetch(each), where=self._name(each)) for each in self.layers]
        return self._tree(layers)

    def _tree(self, layers: list[tuple[Entry, ...]]) -> RootTree:
        try:
            return RootTree.of(layers)
        except ImagerError as error:
            raise type(error)(f"{self.where}: {error.message}", hint=error.hint) from error

    def _name(self, layer: Descriptor) -> str:
        return f"{self.where}: layer {layer.digest}"


def _select(source: ImageSource, root: RawManifest, platform: Platform, where: str) -> RawManifest:
    """Return the manifest for `platform`: the root, or that of an index in it."""
    for _ in range(_DEEPEST_INDEX):
        if not isinstance(root.document, Index):
            return root
        root = source.manifest(_entry(root.document, platform, where).digest)
    return root


def _entry(index: Index, platform: Platform, where: str) -> Descriptor:
    found = [each for each in index.images if each.platform and each.platform.matches(platform)]
    # skopeo's layouts name no platform, and those of a copied index have it as their only entry.
    unnamed = [each for each in index.images if not each.platform]
    if not found and len(index.images) == len(unnamed) == 1:
        return unnamed[0]
    if not found:
        there = ", ".join(sorted({str(each.platform) for each in index.images if each.platform}))
        raise InvalidImageError(
            f"{where} has no image for {platform}",
            hint=f"it has: {there}" if there else "its index names no platform",
        )
    return found[0]


def _config(source: ImageSource, config: Descriptor, where: str) -> bytes:
    if config.size > LARGEST_CONFIG:
        raise InvalidImageError(f"{where} has a configuration of {config.size} bytes")
    buffer = BytesIO()
    source.fetch_blob(config, buffer)
    return buffer.getvalue()


def _labels(raw: bytes, where: str) -> Mapping[str, str]:
    fields = load_fields(raw, where=f"{where}: configuration")
    config = fields.child("config")
    labels = config.child("Labels") if config else None
    return {} if labels is None else {key: labels.text(key) for key in labels.values}


def archive_root(path: Path) -> RootTree:
    """Return the files in a tar archive; raises InputError if it is damaged or hostile."""
    return RootTree.of([layer_entries(Content.of_file(path), where=str(path))])


def plain_files(files: RootFiles, where: str) -> RootFiles:
    """Return `files` with contents that can be read in any order; see `PlainStreams`."""
    contents = PlainStreams(where).plain(file.content for file in files.tree.files)
    plain = [
        replace(file, content=content)
        for file, content in zip(files.tree.files, contents, strict=True)
    ]
    return replace(files, tree=files.tree.with_files(plain))
