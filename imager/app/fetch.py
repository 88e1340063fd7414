"""Fetch published outputs from a registry, with what is attached to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from pathlib import Path

from imager.app.attached import Attached, created, named_layers
from imager.cache.files import FetchedFile, FileFetch
from imager.image.published import names_beside
from imager.oci.artifact import PulledFile, titled_files
from imager.oci.errors import InvalidArtifactError
from imager.oci.manifest import Descriptor, Index, RawManifest
from imager.oci.platform import Platform
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.oci.settings import RegistrySettings
from imager.support.reporter import QUIET, Reporter
from imager.support.units import count

_MOST_FILES = 1000


@dataclass(frozen=True, slots=True)
class FetchOutputs:
    """Published outputs to fetch to `folder`, with what is attached to them with `beside`.

    `platform` chooses one of an index. Files with other bytes are only replaced with `force`.
    """

    reference: str
    folder: Path
    platform: Platform | None = None
    beside: bool = True
    force: bool = False
    jobs: int = 4
    registries: RegistrySettings = field(default_factory=RegistrySettings)


@dataclass(frozen=True, slots=True)
class Fetched:
    """The artifact that was fetched, with its digest, and its files."""

    reference: Reference
    files: tuple[FetchedFile, ...]


def fetch_outputs(wanted: FetchOutputs, reporter: Reporter = QUIET) -> Fetched:
    """Fetch the files of an artifact, made by `publish_outputs`, oras or another tool.

    Raises InvalidArtifactError for names that lead elsewhere, AlreadyExistsError for an existing
    file with other bytes, InputError if there is no such artifact, DependencyError if the registry
    fails, HostError if the disk is full.
    """
    reference = Reference.parse_strict(wanted.reference)
    image = RegistryClient.from_settings(wanted.registries).image(reference)
    with reporter.waiting(f"opening {reference}"):
        root, host = image.locate()
        if isinstance(root.document, Index):
            entry = _entry(root.document, wanted.platform, str(reference))
            root = image.manifest(entry.digest)
        elif wanted.platform is not None:
            reporter.warn(
                f"{reference} is not an index, and is fetched for {wanted.platform} as it is"
            )
        files = _files(root, str(reference))
        if wanted.beside:
            files += _attached(Attached(image, host, root.digest), files, reporter)
    fetch = FileFetch(
        image,
        files,
        wanted.folder,
        root.digest.hex,
        f"fetching {reference}",
        force=wanted.force,
        jobs=wanted.jobs,
    )
    return Fetched(replace(reference, digest=root.digest), fetch.add(reporter))


def _entry(index: Index, platform: Platform | None, where: str) -> Descriptor:
    """Return the only entry of an index, or that for `platform`."""
    entries = [
        each
        for each in index.images
        if platform is None or (each.platform is not None and each.platform.matches(platform))
    ]
    if len(entries) == 1:
        return entries[0]
    named = sorted(str(each.platform or each.digest) for each in index.images)
    if platform is not None and not entries:
        raise InvalidArtifactError(
            f"{where} has nothing for {platform}", hint=f"it has: {', '.join(named)}"
        )
    raise InvalidArtifactError(
        f"{where} has {count(len(entries), 'artifact')}: {', '.join(named)}",
        hint="choose one with --platform",
    )


def _files(root: RawManifest, where: str) -> tuple[PulledFile, ...]:
    """Return the files of an artifact, without layers that have no name, as oras does."""
    layers = named_layers(root)
    if not layers:
        raise InvalidArtifactError(
            f"{where} has no files: none of its layers has a name",
            hint="copy a container image with `skopeo copy`",
        )
    if len(layers) > _MOST_FILES:
        raise InvalidArtifactError(f"{where} has {len(layers)} files, more than {_MOST_FILES}")
    files = titled_files(layers, where=where)
    for file in files:
        if len(file.path.parts) > 1:
            raise InvalidArtifactError(
                f"{where}: {str(file.path)!r} is in a folder", hint="fetch it with `oras pull`"
            )
    return files


def _attached(
    attached: Attached, outputs: Sequence[PulledFile], reporter: Reporter
) -> tuple[PulledFile, ...]:
    """Return the attached files that are named after one of `outputs`: of each name the newest.

    Everybody who may push can attach files, so no name may be an output's.
    """
    allowed = set(chain.from_iterable(names_beside(str(each.path)) for each in outputs))
    found: dict[str, list[tuple[datetime, PulledFile]]] = {}
    for manifest in attached.manifests(reporter):
        for each in _files(manifest, f"{attached.image.reference.name}@{manifest.digest}"):
            name = str(each.path)
            if name in allowed:
                found.setdefault(name, []).append((created(manifest), each))
            else:
                reporter.warn(
                    f"left out {name[:80]}: it is attached, but not named after an output"
                )
    return tuple(_newest(name, files, attached) for name, files in found.items())


def _newest(
    name: str, files: Sequence[tuple[datetime, PulledFile]], attached: Attached
) -> PulledFile:
    last = max(time for time, _ in files)
    newest = {file.layer.digest: file for time, file in files if time == last}
    if len(newest) > 1:
        raise InvalidArtifactError(
            f"{attached.image.reference} has two different files {name} attached, and neither is "
            "newer",
            hint="fetch the outputs alone with --no-beside, or remove one from the registry",
        )
    return next(iter(newest.values()))
