"""Open the inputs of a build: boot assets, image cache, keys, extensions, overlay, base."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from imager.app.boot_assets import asset_notes, boot_assets, talos_version
from imager.app.build_cache import open_build_cache
from imager.app.build_options import BuildOptions
from imager.app.container_images import Pulling
from imager.app.enrollment import enroll_keys
from imager.app.opened_profile import OpenedProfile
from imager.bootassets.find import BootAssets
from imager.bootassets.named import NamedAssets
from imager.image.bootloader.boot import BuildContext
from imager.image.plan import BaseInstaller, Target
from imager.oci.reference import Reference
from imager.profile.leftout import left_out
from imager.profile.model import Profile
from imager.support.arch import find_arch
from imager.support.partials import scratch_folder
from imager.support.reporter import Reporter
from imager.talos.choices import OutputKind
from imager.talos.version import TalosVersion
from imager.talos.versions import require_image_cache

if TYPE_CHECKING:
    from imager.efi.secureboot import SecureBoot
    from imager.image.overlay import InstalledOverlay


def open_target(
    opened: OpenedProfile,
    options: BuildOptions,
    required: Sequence[Reference],
    pulling: Pulling,
    stack: ExitStack,
) -> tuple[Target, tuple[str, ...]]:
    """Return all inputs of the output, opened, and notes; the cache has the `required` images."""
    profile = opened.profile
    reporter = pulling.reporter
    assets, missing = build_assets(profile, options, pulling, stack)
    version = talos_version(profile, assets)
    reporter.warn(*version.warnings)
    if profile.input.image_cache is not None:
        require_image_cache(version)
    extended, added = _extended(profile, assets, options.timestamp, pulling, stack)
    cache = open_build_cache(profile, required, pulling, stack)
    context = BuildContext(
        arch=find_arch(profile.arch),
        version=version,
        assets=extended,
        timestamp=options.timestamp,
        scratch=stack.enter_context(scratch_folder()),
        platform=profile.platform,
        sector_size=profile.output.image_options.disk_sector_size,
        secure_boot=_secure_boot(profile, options, reporter),
        enroll_keys=enroll_keys(profile),
        overlay=_overlay(opened, pulling, stack),
    )
    target = Target(
        build=context,
        cache=cache,
        meta={item.key: item.value for item in profile.customization.meta_contents},
        extra_kernel_args=profile.customization.extra_kernel_args,
        disk_size=profile.output.image_options.disk_size,
        bootloader=profile.output.bootloader,
        base_installer=_base_installer(opened, version, pulling, stack),
    )
    taken = asset_notes(profile, assets)
    return target, (*missing, *taken, *added, *left_out(profile, version))


def build_assets(
    profile: Profile, options: BuildOptions, pulling: Pulling, stack: ExitStack
) -> tuple[BootAssets, tuple[str, ...]]:
    """Return the boot assets of a build, and notes on missing files that the profile names.

    Temporary files are removed with `stack`. Raises as `boot_assets`.
    """
    named = NamedAssets.of(profile.input, find_arch(profile.arch))
    return boot_assets(profile, named.files, options.assets, pulling, stack), named.notes


# What few builds need is loaded by those alone.


def required_images(options: BuildOptions) -> Sequence[Reference]:
    """Return the images that the cache must contain."""
    if not options.require_images:
        return ()
    from imager.cache.lists import read_image_list

    return read_image_list(options.require_images)


def _secure_boot(profile: Profile, options: BuildOptions, reporter: Reporter) -> SecureBoot | None:
    """Return the keys that sign the output, if it is signed; see `open_secure_boot`."""
    if not (profile.secureboot or profile.input.secureboot):
        return None
    from imager.app.signing_keys import open_secure_boot

    return open_secure_boot(profile, options.secureboot, options.timestamp, reporter)


def _overlay(opened: OpenedProfile, pulling: Pulling, stack: ExitStack) -> InstalledOverlay | None:
    """Return what the profile's overlay adds to the output; see `open_overlay`."""
    if opened.profile.overlay is None:
        return None
    from imager.app.overlay import open_overlay

    return open_overlay(opened, opened.profile.overlay, pulling, stack)


def _base_installer(
    opened: OpenedProfile, version: TalosVersion, pulling: Pulling, stack: ExitStack
) -> BaseInstaller | None:
    """Return the base of an installer image; see `open_base_installer`."""
    if opened.profile.output.kind is not OutputKind.INSTALLER:
        return None
    from imager.app.base_installer import open_base_installer
    from imager.app.overlay import overlay_for_installer

    carried = overlay_for_installer(opened, pulling, stack)
    return open_base_installer(opened.profile, version, pulling, stack, carried)


def _extended(
    profile: Profile, assets: BootAssets, timestamp: int, pulling: Pulling, stack: ExitStack
) -> tuple[BootAssets, tuple[str, ...]]:
    """Return the boot assets with the profile's extensions, and notes; see `with_extensions`."""
    customization = profile.customization
    if not (profile.input.system_extensions or customization.embedded_machine_configuration):
        return assets, ()
    from imager.app.extensions import with_extensions

    return with_extensions(profile, assets, timestamp, pulling, stack)
