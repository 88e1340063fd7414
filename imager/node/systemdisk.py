"""Finds the disk with Talos: the variable `system_disk` of selectors."""

from __future__ import annotations

import os
from collections.abc import Sequence

from imager.formats.gpt.read import read_table
from imager.support.blockdevices import BlockDevice
from imager.support.errors import InputError
from imager.support.yamlpaths import text_at
from imager.talos.config.document import MachineConfig
from imager.talos.constants import EPHEMERAL, META, STATE

# Labels on every system disk, in the order in which Talos creates the partitions.
_LABELS = (META, STATE, EPHEMERAL)


def find_system_disk(
    devices: Sequence[BlockDevice], config: MachineConfig | None
) -> BlockDevice | None:
    """Return the disk with a partition META, STATE or EPHEMERAL, else the install disk.

    The install disk is `machine.install.disk` of `config`; `machine.install.diskSelector` is
    ignored.
    """
    disks = {device.path: device for device in devices if device.is_disk}
    labels = {path: _labels(disk, devices) for path, disk in disks.items()}
    for label in _LABELS:
        for path, disk in disks.items():
            if label in labels[path]:
                return disk
    documents = config.documents if config else ()
    named = [text_at(each.value, "machine.install.disk") for each in documents]
    wanted = {os.path.realpath(path) for path in named if path}
    return next((disk for path, disk in disks.items() if os.path.realpath(path) in wanted), None)


def _labels(disk: BlockDevice, devices: Sequence[BlockDevice]) -> set[str]:
    """Return the labels of a disk's partitions, from the table if the kernel has none."""
    known = {each.partition_label for each in devices if each.parent == disk.path}
    if known:
        return known
    try:
        partitions = read_table(disk.path, disk.sector_size).partitions
    except InputError:
        return set()
    return {each.label for each in partitions.values()}
