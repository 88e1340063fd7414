"""The list of outputs: to add one, write a module and add a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from imager.image.disk import plan_disk_output
from imager.image.installer import plan_installer_output
from imager.image.iso import plan_iso_output
from imager.image.plan import OutputPlan, Target
from imager.image.single import (
    plan_cmdline_output,
    plan_initramfs_output,
    plan_kernel_output,
    plan_uki_output,
)
from imager.image.usb import plan_usb_output
from imager.talos.choices import OutputKind

OUTPUTS: Mapping[OutputKind, Callable[[Target], OutputPlan]] = {
    OutputKind.ISO: plan_iso_output,
    OutputKind.IMAGE: plan_disk_output,
    OutputKind.USB: plan_usb_output,
    OutputKind.KERNEL: plan_kernel_output,
    OutputKind.INITRAMFS: plan_initramfs_output,
    OutputKind.UKI: plan_uki_output,
    OutputKind.CMDLINE: plan_cmdline_output,
    OutputKind.INSTALLER: plan_installer_output,
}
