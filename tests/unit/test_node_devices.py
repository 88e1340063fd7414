"""Disks and partitions from a made-up sysfs; the real one is looked at in tests/oracle."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imager.node.devices import describe_disk, list_devices, pretty_size
from imager.node.mounting import mounted_at
from imager.node.systemdisk import find_system_disk
from imager.support.blockdevices import BlockDevice
from imager.talos.config.cel import evaluate
from imager.talos.config.document import read_machine_config

GB = 10**9
ATA = "pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0"
USB = "pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0"


class Machine:
    """A made-up /sys and /dev."""

    def __init__(self, folder: Path) -> None:
        self.sys = folder / "sys"
        self.dev = folder / "dev"
        (self.sys / "class" / "block").mkdir(parents=True)
        (self.dev / "disk" / "by-id").mkdir(parents=True)

    def add(self, place: str, size: int, *, device: str = "", **files: str) -> Path:
        """Add the disk or partition at `place` below /sys/devices; `a__b` is the file a/b."""
        folder = self.sys / "devices" / place
        folder.mkdir(parents=True)
        if device:
            (folder / "device").symlink_to(os.path.relpath(self.sys / "devices" / device, folder))
        for name, text in {"size": str(size // 512), "ro": "0", **files}.items():
            self.write(folder / name.replace("__", "/"), text)
        link = self.sys / "class" / "block" / folder.name
        link.symlink_to(os.path.relpath(folder, link.parent))
        node = self.dev / folder.name.replace("!", "/")
        node.parent.mkdir(exist_ok=True)
        node.touch()
        return folder

    @staticmethod
    def write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")

    def devices(self) -> dict[str, BlockDevice]:
        found = list_devices(self.sys, self.dev)
        return {str(each.path.relative_to(self.dev)): each for each in found}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_disks_and_partitions_are_listed(machine: Machine) -> None:
    disk = f"{ATA}/block/sda"
    machine.add(disk, 64 * GB, queue__logical_block_size="4096")
    machine.add(
        f"{disk}/sda2",
        GB,
        partition="2",
        start="2048",
        uevent="PARTN=2\nPARTNAME=IMAGECACHE",
        ro="1",
    )
    machine.add("virtual/block/loop0", 512 * 100)
    found = machine.devices()
    assert list(found) == ["loop0", "sda", "sda2"]
    assert found["sda"] == BlockDevice(machine.dev / "sda", 64 * GB, 4096)
    # Sizes in sysfs are in sectors of 512 bytes, whatever the disk's own are.
    assert found["sda2"] == BlockDevice(
        machine.dev / "sda2", GB, 4096, machine.dev / "sda", 2, "IMAGECACHE", True, 2048 * 512
    )
    assert found["loop0"].is_disk and not found["sda2"].is_disk


def test_what_is_no_disk_is_left_out(machine: Machine) -> None:
    for name in ("ram0", "zram0", "fd0", "dm-0"):
        machine.add(f"virtual/block/{name}", GB)
    machine.add("virtual/block/loop1", 0)
    machine.add("virtual/nvme/nvme0c0n1", GB, hidden="1")
    (machine.sys / "class" / "block" / "vanished").symlink_to("../../devices/none")
    assert machine.devices() == {}


def test_a_slash_in_a_name_is_an_exclamation_mark_in_sysfs(machine: Machine) -> None:
    machine.add("pci0000:00/cciss0/block/cciss!c0d0", GB, device="pci0000:00/cciss0")
    machine.add("pci0000:00/cciss0/block/cciss!c0d0/cciss!c0d0p1", GB // 2, partition="1")
    machine.write(machine.sys / "devices/pci0000:00/cciss0/model", "LOGICAL VOLUME")
    found = machine.devices()
    assert found["cciss/c0d0p1"].parent == found["cciss/c0d0"].path == machine.dev / "cciss/c0d0"
    disk = describe_disk(found["cciss/c0d0"], machine.sys, machine.dev)
    assert disk.model == "LOGICAL VOLUME"


def test_a_disk_is_described_as_talos_does_it(machine: Machine) -> None:
    machine.add(
        f"{ATA}/block/sda",
        480103981056,
        device=ATA,
        queue__logical_block_size="512",
        queue__optimal_io_size="0",
        queue__minimum_io_size="4096",
        queue__rotational="0",
    )
    base = machine.sys / "devices" / ATA
    machine.write(base / "model", "INTEL SSDSC2KB48        ")
    machine.write(base / "modalias", "scsi:t-0x00")
    machine.write(base / "wwid", "naa.55cd2e414f5eabcd")
    machine.write(machine.sys / "class/scsi_host/host0/proc_name", "ahci")
    link = machine.dev / "disk/by-id/wwn-0x55cd2e414f5eabcd"
    link.symlink_to("../../sda")
    disk = describe_disk(machine.devices()["sda"], machine.sys, machine.dev)
    assert (disk.dev_path, disk.size, disk.pretty_size) == (
        str(machine.dev / "sda"),
        480103981056,
        "480 GB",
    )
    assert (disk.model, disk.modalias, disk.wwid, disk.serial) == (
        "INTEL SSDSC2KB48",
        "scsi:t-0x00",
        "naa.55cd2e414f5eabcd",
        "",
    )
    assert (disk.io_size, disk.sector_size, disk.rotational) == (4096, 512, False)
    assert disk.bus_path == f"/{ATA}"
    assert disk.sub_system == "/sys/class/block"
    assert (disk.transport, disk.cdrom, disk.readonly) == ("sata", False, False)
    assert disk.symlinks == (str(link),)
    assert evaluate('disk.transport == "sata" && disk.size > 400u * GB', [disk], system_disk="")[0]


@pytest.mark.parametrize(
    ("place", "device", "host", "transport"),
    [
        ("pci0000:00/0000:00:08.0/nvme/nvme0/nvme0n1", "", "", "nvme"),
        ("pci0000:00/0000:00:02.0/virtio1/block/vda", "", "", "virtio"),
        ("platform/mmc/mmc0/mmc0:0001/block/mmcblk0", "", "", "mmc"),
        (f"{USB}/block/sdb", USB, "usb-storage", "usb"),
        (f"{ATA}/block/sda", ATA, "ahci", "sata"),
        (f"{ATA}/block/sda", ATA, "ata_piix", "ata"),
        (f"{ATA}/block/sda", ATA, "virtio_scsi", "virtio"),
        (f"{ATA}/block/sda", ATA, "megaraid_sas", ""),
        ("virtual/block/loop0", "", "", ""),
    ],
)
def test_the_transport_is_known(
    machine: Machine, place: str, device: str, host: str, transport: str
) -> None:
    machine.add(place, GB, device=device)
    if host:
        number = Path(device).name.partition(":")[0]
        machine.write(machine.sys / f"class/scsi_host/host{number}/proc_name", host)
    (found,) = machine.devices().values()
    assert describe_disk(found, machine.sys, machine.dev).transport == transport


def test_sas_is_told_by_its_host(machine: Machine) -> None:
    machine.add(f"{ATA}/block/sda", GB, device=ATA)
    (machine.sys / "class/sas_host/host0").mkdir(parents=True)
    assert describe_disk(machine.devices()["sda"], machine.sys, machine.dev).transport == "sas"


def test_a_cd_drive_is_told(machine: Machine) -> None:
    machine.add(f"{ATA}/block/sr0", GB, device=ATA, ro="1")
    disk = describe_disk(machine.devices()["sr0"], machine.sys, machine.dev)
    assert disk.cdrom and disk.readonly


def test_the_bus_of_nvme_is_as_in_the_documentation(machine: Machine) -> None:
    machine.add("pci0000:00/0000:00:09.0/nvme/nvme0/nvme0n1", GB, wwid="nvme.1b36-6465")
    disk = describe_disk(machine.devices()["nvme0n1"], machine.sys, machine.dev)
    assert (disk.bus_path, disk.wwid) == ("/pci0000:00/0000:00:09.0/nvme", "nvme.1b36-6465")


def test_a_disk_pulled_out_meanwhile_is_described_by_what_is_known(machine: Machine) -> None:
    gone = BlockDevice(machine.dev / "sdz", GB)
    disk = describe_disk(gone, machine.sys, machine.dev)
    assert (disk.size, disk.model, disk.transport, disk.bus_path) == (GB, "", "", "")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (9, "9 B"),
        (512, "512 B"),
        (1000, "1.0 kB"),
        (6_442_450_944, "6.4 GB"),
        (10_485_760_000, "10 GB"),
        (274_877_906_944, "275 GB"),
        (1_000_204_886_016, "1.0 TB"),
    ],
)
def test_sizes_are_written_as_humanize_does_it(size: int, text: str) -> None:
    """As `talosctl get disks` shows them."""
    assert pretty_size(size) == text


def disk_with(name: str, *labels: str) -> list[BlockDevice]:
    path = Path("/dev", name)
    parts = [
        BlockDevice(Path(f"{path}{number}"), GB, 512, path, number, label)
        for number, label in enumerate(labels, start=1)
    ]
    return [BlockDevice(path, 10 * GB), *parts]


def test_the_system_disk_has_the_partitions_of_talos() -> None:
    devices = [*disk_with("sda", "EFI", "EPHEMERAL"), *disk_with("sdb", "EFI", "META", "STATE")]
    system = find_system_disk(devices, None)
    assert system and system.path == Path("/dev/sdb")
    assert find_system_disk(disk_with("sda", "EFI", "BOOT"), None) is None


def test_else_it_is_the_disk_to_install_to(tmp_path: Path) -> None:
    config = read_machine_config(
        f"machine:\n  type: worker\n  install:\n    disk: {tmp_path}/by-id\n", source="config"
    )
    (tmp_path / "by-id").symlink_to("/dev/sdb")
    devices = [*disk_with("sda"), *disk_with("sdb", "data")]
    system = find_system_disk(devices, config)
    assert system and system.path == Path("/dev/sdb")
    assert find_system_disk(disk_with("sda"), config) is None
    # What is installed already counts more.
    system = find_system_disk([*devices, *disk_with("sdc", "META")], config)
    assert system and system.path == Path("/dev/sdc")


def test_mounts_are_read_with_their_escapes(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    target = tmp_path / "a b\\c"
    escaped = str(target).replace("\\", "\\134").replace(" ", "\\040")
    mounts.write_text(
        "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
        f"23 22 7:0 / {escaped} ro,nosuid - ext4 /dev/old rw\n"
        f"24 23 7:1 / {escaped} ro,nosuid master:1 shared:2 - iso9660 /dev/a\\040b ro\n"
    )
    assert mounted_at(target, mounts) == Path("/dev/a b")
    assert mounted_at(tmp_path, mounts) is None
