"""Name outputs like Talos does, since pipelines rely on these names."""

from __future__ import annotations

from collections.abc import Mapping

from imager.profile.model import Profile
from imager.talos.choices import OutFormat, OutputKind

# `{stem}` is platform and architecture, `{disk}` the format of a disk. Windows tools for USB
# sticks expect .img.
_NAMES: Mapping[OutputKind, str] = {
    OutputKind.ISO: "{stem}.iso",
    OutputKind.IMAGE: "{stem}.{disk}",
    OutputKind.USB: "{stem}-usb.img",
    OutputKind.KERNEL: "kernel-{arch}",
    OutputKind.INITRAMFS: "initramfs-{stem}.xz",
    OutputKind.UKI: "{stem}-uki.efi",
    OutputKind.CMDLINE: "cmdline-{stem}",
    OutputKind.INSTALLER: "installer-{arch}{secure}.tar",
}


def output_name(profile: Profile) -> str:
    """Return the file name of the output of `profile`, such as `metal-amd64.raw.zst`."""
    secure = "-secureboot" if profile.secureboot else ""
    stem = f"{profile.platform}-{profile.arch}{secure}"
    disk = profile.output.image_options.disk_format.value
    pattern = _NAMES[profile.output.kind]
    name = pattern.format(stem=stem, arch=profile.arch, secure=secure, disk=disk)
    packed = profile.output.out_format
    return name if packed is OutFormat.RAW else f"{name}{packed.value}"


def name_suffix(name: str) -> str:
    """Return the suffix of the output `name`, such as `.raw.zst`, or an empty string."""
    _, dot, suffix = name.partition(".")
    return f"{dot}{suffix}"
