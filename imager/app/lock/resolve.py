"""Resolve the inputs of a build to digests, without pulling the image cache or running anything.

References are resolved by their manifests alone. Boot assets are found as the build finds them:
those of an image are unpacked to the user's cache, where the build needs them anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from imager.app.boot_assets import talos_version
from imager.app.build_options import BuildOptions
from imager.app.build_target import build_assets
from imager.app.container_images import Pulling, image_source, place_of
from imager.app.lock.inputs import BuildInput, InputKind
from imager.app.opened_profile import OpenedProfile
from imager.app.overlay_image import runnable
from imager.app.signing_keys import open_secure_boot
from imager.bootassets.errors import BootAssetError
from imager.bootassets.find import Asset, BootAssets
from imager.bootassets.grub import MODULE_LIST, bios_files, find_bios_grub, find_efi_grub
from imager.cache.digest import cache_digest
from imager.cache.open import open_cache
from imager.efi.certificates import der
from imager.efi.secureboot import SecureBoot
from imager.image.extensions.extension import MANIFEST
from imager.oci.archive import open_archive
from imager.oci.digest import Digest
from imager.oci.errors import InvalidImageError, NotFoundError
from imager.oci.location import split_name
from imager.oci.platform import Platform
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.profile.inputs import ContainerAsset
from imager.profile.model import Profile
from imager.support.arch import Arch, find_arch
from imager.support.errors import ImagerError
from imager.support.reporter import QUIET, Reporter
from imager.talos.choices import Bootloader, OutputKind
from imager.talos.version import TalosVersion
from imager.talos.versions import base_installer, quirks

_GRUB_SECTOR = 512
# These outputs have no initramfs, so no extensions.
_PLAIN = (OutputKind.KERNEL, OutputKind.CMDLINE)


@dataclass(frozen=True, slots=True)
class Resolved:
    """The inputs of a build, sorted by kind and name, and the Talos version that they are for."""

    inputs: tuple[BuildInput, ...]
    version: TalosVersion
    uses_grub: bool


def resolved_inputs(
    opened: OpenedProfile, options: BuildOptions, reporter: Reporter = QUIET
) -> Resolved:
    """Resolve the inputs of a build of `opened`; raises as its build for those that are unusable.

    A reference is resolved by the pins of `options.registries`, if there are any; a pinned image
    that its registry no longer has is left out.
    """
    profile = opened.profile
    with ExitStack() as stack:
        pulling = Pulling(options.registries, options.layer_cache, reporter)
        assets, _ = build_assets(profile, options, pulling, stack)
        version = talos_version(profile, assets)
        uses_grub = _uses_grub(profile, version)
        resolver = _Resolver(profile, version, pulling, stack)
        keys = open_secure_boot(profile, options.secureboot, options.timestamp, reporter)
        found = [
            *_asset_inputs(assets, profile.output.kind),
            *(_grub_inputs(profile, version, assets) if uses_grub else ()),
            *resolver.images(),
            *_key_inputs(keys),
        ]
    if text := profile.customization.embedded_machine_configuration:
        name = "customization.embeddedMachineConfiguration"
        digest = Digest.of(text.encode())
        found.append(BuildInput(InputKind.MACHINE_CONFIGURATION, name, "", digest))
    ordered = sorted(found, key=lambda each: (each.kind.value, each.name))
    return Resolved(tuple(ordered), version, uses_grub)


def _bootloader(profile: Profile, version: TalosVersion) -> Bootloader:
    return profile.output.bootloader or quirks(version).bootloader


def _uses_grub(profile: Profile, version: TalosVersion) -> bool:
    output = profile.output
    impossible = profile.secureboot or output.image_options.disk_sector_size != _GRUB_SECTOR
    chosen = _bootloader(profile, version)
    return output.kind.is_medium and not impossible and chosen is not Bootloader.SD_BOOT


def _file(name: str, path: Path) -> BuildInput:
    return BuildInput(InputKind.BOOT_ASSET, name, str(path), Digest.of_file(path))


def _asset_inputs(assets: BootAssets, kind: OutputKind) -> Iterator[BuildInput]:
    """Yield the image of boot assets, and each file that is not out of it."""
    if kind is OutputKind.CMDLINE:
        return
    if assets.image:
        digest = Digest.parse(assets.image.rpartition("@")[2])
        yield BuildInput(InputKind.BOOT_ASSETS, "image", str(assets.origin), digest)
    for asset in Asset:
        if assets.image and asset not in assets.given:
            continue
        with suppress(BootAssetError):  # not every output needs all of them
            yield _file(asset.value, assets.path(asset))


def _grub_inputs(
    profile: Profile, version: TalosVersion, assets: BootAssets
) -> Iterator[BuildInput]:
    """Yield the files of GRUB; if they are missing or damaged, the build says so."""
    arch = find_arch(profile.arch)
    if arch.grub_bios:
        with suppress(BootAssetError, OSError, ValueError):
            folder = find_bios_grub(arch, given=assets.place)
            names = bios_files((folder / MODULE_LIST).read_text("ascii"))
            lines = (f"{Digest.of_file(folder / name)} {name}\n" for name in sorted(names))
            digest = Digest.of("".join(lines).encode())
            yield BuildInput(InputKind.BOOT_ASSET, f"grub/{arch.grub_bios}", str(folder), digest)
    if _bootloader(profile, version) is Bootloader.GRUB:
        with suppress(BootAssetError):
            yield _file(f"grub/{arch.grub_efi}", find_efi_grub(arch, given=assets.place))


def _key_inputs(keys: SecureBoot | None) -> Iterator[BuildInput]:
    """Yield what an output shows of the keys: nothing of a private key."""
    if keys is None:
        return
    signing = Digest.of(der(keys.signer.certificate))
    yield BuildInput(InputKind.CERTIFICATE, "secureBootSigner", "", signing)
    for name, value in keys.variables.items():
        yield BuildInput(InputKind.CERTIFICATE, name, "", Digest.of(value))
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = keys.pcr_signer.public_key.public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    yield BuildInput(InputKind.PUBLIC_KEY, "pcrSigner", "", Digest.of(public))


@dataclass(frozen=True, slots=True)
class _Resolver:
    """Resolves the container images of a profile."""

    profile: Profile
    version: TalosVersion
    pulling: Pulling
    stack: ExitStack

    def images(self) -> Iterator[BuildInput]:
        """Yield the images that the output is made of."""
        return (found for found in self._images() if found)

    def _images(self) -> Iterator[BuildInput | None]:
        given, kind = self.profile.input, self.profile.output.kind
        own = [find_arch(self.profile.arch)]
        if kind not in _PLAIN:
            for number, asset in enumerate(given.system_extensions):
                name = f"input.systemExtensions[{number}]"
                yield self._image(InputKind.SYSTEM_EXTENSION, name, asset, own)
        yield from self._overlays(own)
        if kind is OutputKind.INSTALLER:
            usual = {"imageRef": base_installer(self.version)}
            base = given.base_installer or ContainerAsset.model_validate(usual)
            yield self._image(InputKind.BASE_INSTALLER, "input.baseInstaller", base, own)
        if given.image_cache and kind.is_medium:
            yield self._cache(given.image_cache, own[0])

    def _overlays(self, own: list[Arch]) -> Iterator[BuildInput | None]:
        overlay, installer = self.profile.overlay, self.profile.input.overlay_installer
        if overlay is None:
            return
        if executed := overlay.image or installer:
            yield self._image(InputKind.OVERLAY, "overlay.image", executed, runnable())
        if installer and self.profile.output.kind is OutputKind.INSTALLER:
            yield self._image(InputKind.OVERLAY, "input.overlayInstaller", installer, own)

    def _cache(self, asset: ContainerAsset, arch: Arch) -> BuildInput | None:
        kind, name = InputKind.IMAGE_CACHE, "input.imageCache"
        if asset.image_ref:
            return self._image(kind, name, asset, [arch])
        with self.pulling.reporter.waiting(f"opening image cache {place_of(asset)}"):
            cache = open_cache(Path(place_of(asset)), arch=arch).cache
        return BuildInput(kind, name, place_of(asset), cache_digest(cache))

    def _image(
        self, kind: InputKind, name: str, asset: ContainerAsset, arches: list[Arch]
    ) -> BuildInput | None:
        place = place_of(asset)
        with self.pulling.reporter.waiting(f"resolving {place}"):
            digest = self._remote(asset) if asset.image_ref else self._local(asset, arches)
        return BuildInput(kind, name, place, digest) if digest else None

    def _remote(self, asset: ContainerAsset) -> Digest | None:
        """Return the digest of a reference; None for a pinned image that is gone."""
        puller = self.pulling.of(asset).puller(self.stack)
        client = RegistryClient.from_settings(puller.registries)
        reference = Reference.parse_strict(asset.image_ref)
        image = client.image(reference)
        try:
            return image.root().digest
        except NotFoundError:
            if image.reference == reference:
                raise
            return None

    def _local(self, asset: ContainerAsset, arches: list[Arch]) -> Digest:
        path, _ = split_name(Path(place_of(asset)))
        if asset.tarball_path and open_archive(path).has(MANIFEST):
            return Digest.of_file(path)  # a tar of an extension's files
        puller = self.pulling.of(asset).puller(self.stack)
        failures: list[ImagerError] = []
        for arch in arches:
            try:
                source = image_source(asset, Platform("linux", arch.name), puller)
                return source.root().digest
            except InvalidImageError as error:
                failures.append(error)
        raise failures[0]
