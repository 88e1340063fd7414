"""Store boot assets in a registry, as an OCI artifact that `oras pull` can read.

Each file is a layer whose title is its path in the architecture's folder: see `oci/artifact.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
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
from imager.oci.sinks import FileSink
from imager.oci.source import ImageSource
from imager.support.arch import Arch
from imager.support.atomic import atomic_folder
from imager.support.descriptors import MADE, opened
from imager.support.folders import check_free_space, ensure_folder
from imager.support.reporter import Reporter
from imager.support.units import GIB, count, format_size
from imager.support.workers import Work

ARTIFACT_TYPE = "application/vnd.imager.boot-assets.v1"
_FILE_TYPE = "application/octet-stream"
_ARCH = "vnd.imager.boot-assets.arch"
_MOST_FILES = 1000
_JOBS = 4
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


def pull_artifact(
    image: ImageSource,
    files: Sequence[PulledFile],
    folder: Path,
    *,
    reporter: Reporter,
) -> None:
    """Replace the contents of `folder` with `files`, checked, in one atomic step.

    Raises the errors of ImageSource.fetch_blob, and HostError if the disk is full.
    """
    total = sum(file.layer.size for file in files)
    ensure_folder(folder.parent)
    check_free_space(folder.parent, total)
    with (
        atomic_folder(folder) as made,
        reporter.transfer("pulling boot assets", total) as advance,
    ):
        for file in files:
            (made / file.path).parent.mkdir(parents=True, exist_ok=True)
        work = Work(advance)
        work.run(lambda file: _fetch(image, file, made, work), files, jobs=_JOBS, what="files")


def pulled_files(folder: Path) -> Iterator[PulledFile]:
    """Yield the files of a folder of boot assets, with their digests, as pushed ones have them."""
    for title, path in _files(folder):
        content = Content.of_file(path)
        digest = Digest(hash_content(content).hex())
        yield PulledFile(PurePosixPath(title), Descriptor(_FILE_TYPE, digest, content.size))


def _fetch(image: ImageSource, file: PulledFile, folder: Path, work: Work) -> None:
    with opened(folder / file.path, MADE | os.O_EXCL) as descriptor:
        image.fetch_blob(file.layer, FileSink(descriptor, 0, work))


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
