"""Find the fields of a profile that have no effect on its output.

Talos prints profiles with every field set, and users share profiles between output kinds, so such
fields are accepted and reported.
"""

from __future__ import annotations

from collections.abc import Iterator

from imager.profile.model import Profile
from imager.support.fields import setting
from imager.talos.choices import EnrollKeys, OutputKind
from imager.talos.version import TalosVersion
from imager.talos.versions import fills_in

_PLAIN_SECTOR = 512
_IMAGES = (OutputKind.IMAGE, OutputKind.USB)
_NO_INITRAMFS = (OutputKind.KERNEL, OutputKind.CMDLINE)
_NO_COMMAND_LINE = (OutputKind.KERNEL, OutputKind.INITRAMFS)


def left_out(profile: Profile, version: TalosVersion) -> tuple[str, ...]:
    """Return a note for each field that is set but has no effect for Talos `version`."""
    return tuple(f"{field} is left out: {why}" for field, why in _ineffective(profile, version))


def _ineffective(profile: Profile, version: TalosVersion) -> Iterator[tuple[str, str]]:
    output, kind = profile.output, profile.output.kind
    no_medium = f"{kind.value} has none; iso, image and usb do"
    if profile.input.image_cache and not kind.is_medium:
        yield setting("input.imageCache"), no_medium
    if output.image_options.disk_size is not None and kind not in _IMAGES:
        yield setting("output.imageOptions.diskSize"), "only a disk or stick has a size to choose"
    if output.bootloader and not kind.is_medium:
        yield setting(f"{output.options_path}.bootloader"), no_medium
    if _is_4k(profile) and fills_in(output.bootloader, version):
        yield (
            setting(f"{output.options_path}.bootloader"),
            "disks with sectors of 4096 bytes boot by UEFI only, with systemd-boot",
        )
    if output.enroll_keys is EnrollKeys.IF_SAFE and not profile.secureboot:
        yield (
            setting(f"{output.options_path}.sdBootEnrollKeys"),
            "without SecureBoot there are no keys to enroll",
        )
    yield from _of_missing_parts(profile)


def _of_missing_parts(profile: Profile) -> Iterator[tuple[str, str]]:
    """Yield what would go into a part that the kind of output does not have."""
    kind, customization = profile.output.kind, profile.customization
    if kind in _NO_INITRAMFS:
        if profile.input.system_extensions:
            yield setting("input.systemExtensions"), f"{kind.value} has no initramfs"
        if customization.embedded_machine_configuration:
            field = setting("customization.embeddedMachineConfiguration")
            yield field, f"{kind.value} has no initramfs"
    if kind in _NO_COMMAND_LINE:
        if customization.extra_kernel_args:
            yield setting("customization.extraKernelArgs"), f"{kind.value} has no command line"
        if customization.meta_contents:
            yield setting("customization.metaContents"), f"{kind.value} has no command line"


def _is_4k(profile: Profile) -> bool:
    sector = profile.output.image_options.disk_sector_size
    return profile.output.kind is OutputKind.IMAGE and sector != _PLAIN_SECTOR
