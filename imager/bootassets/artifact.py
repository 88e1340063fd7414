"""Store boot assets in a registry, as an OCI artifact that `oras pull` can read.

Each file is a layer whose title is its path in the architecture's folder: see `oci/artifact.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from imager.bootassets.errors import BootAssetError
from imager.bootassets.find import Asset, BootAssets
from imager.content.extents import Content
from imager.content.reading import hash_content
from imager.oci.artifact import Artifact, ArtifactFile, PulledFile, titled_files, unique_blobs
from imager.oci.digest import Digest
from imager.oci.documents import load_fields
from imager.oci.manifest import Descriptor, ImageManifest, RawManifest
from imager.oci.push import PushPlan
from imager.support.arch import Arch
from imager.support.units import GIB, count, format_size

ARTIFACT_TYPE = "application/vnd.imager.boot-assets.v1"
_FILE_TYPE = "application/octet-stream"
_ARCH = "vnd.imager.boot-assets.arch"
_MOST_FILES = 1000
_LARGEST = 16 * GIB


def plan_artifact(assets: BootAssets) -> PushPlan:
    """Return the push of the folder of `assets`; the same files always give the same bytes.

    Raises InputError if the folder is missing, or contains more than boot assets plausibly do.
    """
    # Raises an error with instructions if there is no kernel.
    folder = assets.path(Asset.KERNEL).parent
    files = [
        ArtifactFile(
            str(each.path), _FILE_TYPE, each.layer.digest, Content.of_file(folder / each.path)
        )
        for each in pulled_files(folder)
    ]
    artifact = Artifact(ARTIFACT_TYPE, files, {_ARCH: assets.arch.name})
    return PushPlan(unique_blobs([artifact]), (artifact.manifest(),))


def is_artifact(root: RawManifest, *, where: str) -> bool:
    """Return whether the manifest `root` is that of boot assets that were pushed."""
    return load_fields(root.raw, where=where).text("artifactType") == ARTIFACT_TYPE


def artifact_files(root: RawManifest, arch: Arch, *, where: str) -> tuple[PulledFile, ...]:
    """Return the files of a boot asset artifact for `arch`.

    Raises InputError for another artifact or architecture, and for files outside of the folder, too
    many files, or files too large for boot assets.
    """
    fields = load_fields(root.raw, where=where)
    if not isinstance(root.document, ImageManifest) or not is_artifact(root, where=where):
        raise BootAssetError(
            f"{where} is not a boot asset artifact",
            hint="create one with `imager assets push REF`",
        )
    annotations = fields.child("annotations")
    its_arch = annotations.text(_ARCH) if annotations else ""
    if its_arch != arch.name:
        raise BootAssetError(
            f"{where} has boot assets for {its_arch[:20]!r}, not for {arch.name}",
            hint="give another reference, or --arch",
        )
    layers = root.document.layers
    if len(layers) > _MOST_FILES or sum(layer.size for layer in layers) > _LARGEST:
        raise BootAssetError(
            f"{where} is too large for boot assets: {count(len(layers), 'file')}, "
            f"{format_size(sum(layer.size for layer in layers))}"
        )
    return titled_files(layers, where=where, error=BootAssetError)


def pulled_files(folder: Path) -> Iterator[PulledFile]:
    """Yield the files of a folder of boot assets, with their digests, as pushed ones have them."""
    for title, path in _files(folder):
        content = Content.of_file(path)
        digest = Digest(hash_content(content).hex())
        yield PulledFile(PurePosixPath(title), Descriptor(_FILE_TYPE, digest, content.size))


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a folder by their relative paths, sorted, without hidden ones."""
    found = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    shown = {
        name: path for name, path in found.items() if not any(p.startswith(".") for p in name.parts)
    }
    if len(shown) > _MOST_FILES:
        raise BootAssetError(
            f"{folder} contains {len(shown)} files, too many for a folder of boot assets",
            hint="give the folder with --assets",
        )
    yield from ((name.as_posix(), path) for name, path in shown.items())
