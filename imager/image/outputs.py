"""The list of outputs: to add one, write a module and add a case here."""

from __future__ import annotations

from imager.image.plan import OutputPlan, Target
from imager.talos.choices import OutputKind


def plan_output(kind: OutputKind, target: Target) -> OutputPlan:
    """Return the plan of an output; raises ImagerError for inputs that it cannot contain.

    Only the module of `kind` is loaded.
    """
    match kind:
        case OutputKind.ISO:
            from imager.image.iso import plan_iso_output as plan
        case OutputKind.IMAGE:
            from imager.image.disk import plan_disk_output as plan
        case OutputKind.USB:
            from imager.image.usb import plan_usb_output as plan
        case OutputKind.KERNEL:
            from imager.image.single import plan_kernel_output as plan
        case OutputKind.INITRAMFS:
            from imager.image.single import plan_initramfs_output as plan
        case OutputKind.UKI:
            from imager.image.single import plan_uki_output as plan
        case OutputKind.CMDLINE:
            from imager.image.single import plan_cmdline_output as plan
        case OutputKind.INSTALLER:
            from imager.image.installer import plan_installer_output as plan
    return plan(target)
