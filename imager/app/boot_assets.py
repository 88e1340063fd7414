"""Find the boot assets of a build: in a folder, or out of a container image.

Boot assets of an image are kept in the user's cache, by the digest of the image, so that a second
build neither fetches nor unpacks anything.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from imager.bootassets.artifact import artifact_files, is_artifact, pull_artifact
from imager.bootassets.find import Asset, BootAssets, find_assets, image_folder
from imager.bootassets.from_image import take_assets
from imager.cache.pull import Puller, PullOptions
from imager.oci.digest import Digest
from imager.oci.errors import RegistryFailedError, RegistryUnreachableError
from imager.oci.location import may_be_image, open_local_image
from imager.oci.platform import Platform
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.oci.rootfs import ImageRoot
from imager.oci.settings import RegistrySettings
from imager.oci.source import ImageSource
from imager.profile.inputs import ContainerAsset
from imager.profile.model import Profile
from imager.support.arch import Arch, find_arch
from imager.support.atomic import write_atomic
from imager.support.errors import ImagerError, InputError
from imager.support.fields import setting
from imager.support.partials import scratch_folder
from imager.support.reporter import Reporter
from imager.talos.choices import OutputKind
from imager.talos.version import DEFAULT_VERSION, TalosVersion


@dataclass(frozen=True, slots=True)
class AssetOptions:
    """Where to look for boot assets: a folder, an image on this machine, or a reference.

    None stands for the usual folders. Layers are kept in `layer_cache`, if given.
    """

    place: Path | Reference | None
    registries: RegistrySettings
    layer_cache: Path | None


def boot_assets(
    profile: Profile,
    files: Mapping[Asset, Path],
    options: AssetOptions,
    reporter: Reporter,
    stack: ExitStack,
) -> BootAssets:
    """Return the boot assets for `profile`: single `files`, and those of one folder or image.

    The base installer of the profile is used only if no boot assets are found on this machine:
    Talos prints one into every profile. Temporary files are removed when `stack` is closed. Raises
    as `find_assets`, `ImageRoot.open` and `take_assets`.
    """
    arch = find_arch(profile.arch)
    place, registries = options.place, options.registries
    if place is None:
        assets = find_assets(arch, files=files)
        base = profile.input.base_installer
        if base is None or not _lacks_assets(assets, profile):
            return assets
        place = _place_of(base)
        registries = registries.with_insecure() if base.force_insecure else registries
    options = replace(options, registries=registries)
    return replace(placed_assets(arch, place, options, reporter, stack), given=files)


def placed_assets(
    arch: Arch,
    place: Path | Reference,
    options: AssetOptions,
    reporter: Reporter,
    stack: ExitStack,
) -> BootAssets:
    """Return the boot assets in the folder or image at `place`; see `boot_assets`."""
    if isinstance(place, Path) and not may_be_image(place):
        return find_assets(arch, given=place)
    pull = PullOptions(options.registries, options.layer_cache)
    kept = kept_folder(image_folder(), stack)
    return _Taking(arch, stack.enter_context(pull.puller(reporter)), kept).take(place)


def asset_notes(profile: Profile, assets: BootAssets) -> Iterator[str]:
    """Yield notes on the image that `assets` are from, and on a base installer without effect."""
    if assets.image:
        yield f"boot assets are those of {assets.image}"
    base = profile.input.base_installer
    builds_on_it = profile.output.kind is OutputKind.INSTALLER
    if base is not None and not builds_on_it and assets.origin != _place_of(base):
        place = assets.image or assets.folder
        why = f"boot assets are in {place}" if place else "nothing is taken from it"
        yield f"{setting('input.baseInstaller')} is left out: {why}"


def unpack_assets(
    source: ImageSource, where: str, arch: Arch, folder: Path, puller: Puller
) -> None:
    """Write the boot assets of an image, or of an artifact of boot assets, to `folder`, atomically.

    `where` names the image in messages. Raises as `take_assets` and `artifact_files`.
    """
    root = source.root()
    if is_artifact(root, where=where):
        files = artifact_files(root, arch, where=where)
        pull_artifact(source, files, folder, reporter=puller.reporter)
        return
    image = ImageRoot.open(
        source,
        _platform(arch),
        where=where,
        fetch=lambda layer: puller.layer(source, layer, where),
    )
    take_assets(image, arch, folder, is_version=is_version)


def talos_version(profile: Profile, assets: BootAssets) -> TalosVersion:
    """Return the Talos version of the profile, or else of the boot assets, or else the default."""
    if profile.version or not assets.version:
        return TalosVersion.parse(profile.version or DEFAULT_VERSION)
    try:
        return TalosVersion.parse(assets.version)
    except InputError as error:
        raise InputError(
            f"the version file beside the boot assets in {assets.folder}: {error.message}",
            hint=f"correct it, or give {setting('version')}",
        ) from error


def is_version(text: str) -> bool:
    """Return whether `text` is a version of Talos."""
    try:
        TalosVersion.parse(text)
    except ImagerError:
        return False
    return True


def _platform(arch: Arch) -> Platform:
    return Platform("linux", arch.name)


def _lacks_assets(assets: BootAssets, profile: Profile) -> bool:
    """Whether something of the output must come from a folder or image, and there is none."""
    whole = assets.folder is not None or assets.given.keys() >= set(Asset)
    return not whole and profile.output.kind is not OutputKind.CMDLINE


def _place_of(asset: ContainerAsset) -> Path | Reference:
    if asset.image_ref:
        return Reference.parse_strict(asset.image_ref)
    return Path(asset.tarball_path or asset.oci_path)


def kept_folder(folder: Path, stack: ExitStack) -> Path:
    """Return `folder` in the user's cache, or a temporary one if it cannot be written."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return folder
    return stack.enter_context(scratch_folder())


@dataclass(frozen=True, slots=True)
class _Taking:
    """How boot assets are taken out of an image, and kept in the folder `kept`."""

    arch: Arch
    puller: Puller
    kept: Path

    def take(self, place: Path | Reference) -> BootAssets:
        """Return the boot assets of the image at `place`, unpacked at most once."""
        reporter = self.puller.reporter
        with reporter.waiting(f"opening {place}"):
            source, digest = self._source(place)
        folder = self.kept / digest.file_name / self.arch.name
        if not folder.is_dir():
            unpack_assets(source, str(place), self.arch, folder, self.puller)
        name, tag = str(place), None
        if isinstance(place, Reference):
            name, tag = str(replace(place, digest=None)), place.tag
        return replace(
            find_assets(self.arch, given=folder.parent),
            image=f"{name}@{digest}",
            origin=place,
            tagged=tag if tag and is_version(tag) else None,
        )

    def _source(self, place: Path | Reference) -> tuple[ImageSource, Digest]:
        """Return an image and its digest; no request is sent for a reference that has one."""
        if isinstance(place, Path):
            source = open_local_image(place, _platform(self.arch))
            return source, source.root().digest
        client = RegistryClient.from_settings(self.puller.registries)
        digest = place.digest or self._resolved(client, place)
        return client.image(replace(place, digest=digest)), digest

    def _resolved(self, client: RegistryClient, reference: Reference) -> Digest:
        """Return the digest of a tag: the registry's, or that of the last run without a network."""
        name = hashlib.sha256(str(reference).encode()).hexdigest()
        note = self.kept / f"tag-{name}"
        try:
            digest = client.image(reference).root().digest
        except (RegistryFailedError, RegistryUnreachableError) as error:
            known = _noted(note)
            if known is None or not (self.kept / known.file_name / self.arch.name).is_dir():
                raise
            self.puller.reporter.warn(f"{error.message}; using {reference} as of the last run")
            return known
        write_atomic(note, f"{digest}\n".encode())
        return digest


def _noted(note: Path) -> Digest | None:
    try:
        return Digest.parse(note.read_text().strip())
    except (OSError, ValueError, ImagerError):
        return None
