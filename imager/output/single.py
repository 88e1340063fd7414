"""Outputs that are one boot asset: kernel, initramfs, command line, UKI."""

from __future__ import annotations

from imager.bootassets.kernelimage import efi_asset, unified_kernel_image
from imager.bootassets.locate import Asset
from imager.extents import Content
from imager.output.plan import OutputPlan, Region, RegionKind, Target


def plan_kernel_output(target: Target) -> OutputPlan:
    """Return the kernel."""
    return _single(f"kernel-{target.arch.name}", efi_asset(target.assets, Asset.KERNEL))


def plan_initramfs_output(target: Target) -> OutputPlan:
    """Return the initramfs."""
    content = Content.of_file(target.assets.path(Asset.INITRAMFS))
    return _single(f"initramfs-{target.stem}.xz", content)


def plan_cmdline_output(target: Target) -> OutputPlan:
    """Return the kernel command line, without a line's end, as Talos has it."""
    content = Content.of_bytes(target.cmdline(iso=False).encode())
    return _single(f"cmdline-{target.stem}", content)


def plan_uki_output(target: Target) -> OutputPlan:
    """Return the unified kernel image."""
    cmdline = target.cmdline(iso=False)
    content = unified_kernel_image(target.assets, version=target.version.text, cmdline=cmdline)
    return _single(f"{target.stem}-uki.efi", content)


def _single(name: str, content: Content) -> OutputPlan:
    return OutputPlan(name, content, (Region(RegionKind.FILE, name, 0, content.size),))
