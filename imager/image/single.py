"""Outputs that consist of one boot asset: kernel, initramfs, command line, UKI."""

from __future__ import annotations

from imager.bootassets.find import Asset
from imager.bootassets.kernelimage import efi_asset, initramfs_asset
from imager.content.extents import Content
from imager.image.bootloader.unified import unified_image
from imager.image.plan import OutputPlan, Region, RegionKind, Target


def plan_kernel_output(target: Target) -> OutputPlan:
    """Return the plan of the kernel."""
    return _single("kernel", efi_asset(target.build.assets, Asset.KERNEL))


def plan_initramfs_output(target: Target) -> OutputPlan:
    """Return the plan of the initramfs."""
    return _single("initramfs", initramfs_asset(target.build.assets))


def plan_cmdline_output(target: Target) -> OutputPlan:
    """Return the plan of the kernel command line, without a newline, as in Talos."""
    content = Content.of_bytes(target.cmdline().encode())
    return _single("cmdline", content)


def plan_uki_output(target: Target) -> OutputPlan:
    """Return the plan of the unified kernel image."""
    return _single("uki", unified_image(target.single_boot()))


def _single(name: str, content: Content) -> OutputPlan:
    return OutputPlan(content, (Region(RegionKind.FILE, name, 0, content.size),))
