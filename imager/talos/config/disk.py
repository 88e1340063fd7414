"""The disk variable of selector expressions."""

from __future__ import annotations

from dataclasses import dataclass

# The releases that added fields; all other fields exist since the first VolumeConfig.
FIELDS_SINCE = {
    "secondary_disks": (1, 9),
    "uuid": (1, 9),
    "symlinks": (1, 10),
    "firmware_version": (1, 14),
    "device_mapper_name": (1, 14),
    "device_mapper_uuid": (1, 14),
    "device_mapper_kind": (1, 14),
}


@dataclass(frozen=True, slots=True)
class Disk:
    """The fields of Talos's resource Disks.block.talos.dev; sizes in bytes.

    `transport` is `nvme`, `sata`, `virtio`, `usb` and the like.
    """

    dev_path: str = ""
    size: int = 0
    pretty_size: str = ""
    io_size: int = 0
    sector_size: int = 512
    readonly: bool = False
    cdrom: bool = False
    model: str = ""
    serial: str = ""
    modalias: str = ""
    wwid: str = ""
    bus_path: str = ""
    sub_system: str = ""
    transport: str = ""
    rotational: bool = False
    secondary_disks: tuple[str, ...] = ()
    symlinks: tuple[str, ...] = ()
    uuid: str = ""
    firmware_version: str = ""
    device_mapper_name: str = ""
    device_mapper_uuid: str = ""
    device_mapper_kind: str = ""
