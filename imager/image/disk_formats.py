"""The formats of disk images: each is a view of the raw disk, so that nothing is written twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from imager.content.extents import Content
from imager.image.bootloader.boot import BuildContext
from imager.profile.disk_options import DiskOptions
from imager.support.repro import derived_uuid
from imager.support.units import MIB
from imager.talos.choices import DiskFormat, OutFormat

if TYPE_CHECKING:
    from imager.formats.ova import Ova

_MACHINE = "talos"
_VHD = "talos-vhd"

# File systems round sizes up and need space for metadata.
_METADATA_SLACK = MIB
# How many bytes of a hole become one byte.
_HOLE_RATIOS = {OutFormat.GZ: 1000, OutFormat.XZ: 4000}

# What is written to a file: bytes, or an OVA, whose size is known when its disk is compressed.
DiskImage: TypeAlias = "Content | Ova"


def disk_image(
    disk: Content, disk_format: DiskFormat, options: DiskOptions, build: BuildContext
) -> DiskImage:
    """Return the image of the raw `disk`; raises ImagerError for what the format cannot hold."""
    match disk_format:
        case DiskFormat.RAW:
            return disk
        case DiskFormat.QCOW2:
            from imager.formats.qcow2 import plan_qcow2

            return plan_qcow2(disk, cluster_size=options.cluster_size)
        case DiskFormat.VHD:
            from imager.formats.vhd import plan_vhd

            return plan_vhd(
                disk,
                created=build.timestamp,
                uuid=derived_uuid(_VHD),
                force_size=options.force_size,
            )
        case DiskFormat.OVA:
            return _ova(disk, build)


def _ova(disk: Content, build: BuildContext) -> Ova:
    from imager.formats.ova import plan_ova
    from imager.formats.ovf import Property, VirtualMachine

    # What the user may enter when the machine is imported; the node's kernel arguments ask for it.
    configuration = Property("talos.config", "Talos config data", "Inline Talos config")
    machine = VirtualMachine(_MACHINE, (configuration,), efi=build.secure_boot is not None)
    return plan_ova(disk, machine, timestamp=build.timestamp)


def space_needed(image: DiskImage, out_format: OutFormat) -> int:
    """Return the largest size on the disk that the output may have."""
    if not isinstance(image, Content):
        return image.largest + _METADATA_SLACK
    ratio = _HOLE_RATIOS.get(out_format)
    holes = (image.size - image.data_size) // ratio if ratio else 0
    return image.data_size + holes + _METADATA_SLACK
