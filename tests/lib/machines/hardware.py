"""Machines for QEMU: of which kind, what starts them, and which drives they have."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

MEMORY = 512


@dataclass(frozen=True, slots=True)
class Machine:
    """A kind of machine: how QEMU is started for it, and where its UEFI firmware may lie.

    `firmware` has code and empty variables as Debian and Ubuntu, their older releases, Fedora and
    Arch name them. `cd` are the devices of a CD: not every machine has IDE. `bios` are the options
    that start its BIOS, if it has one, with the text of that on the serial console. `secure` are
    the places of firmware that checks signatures, `secure_options` what makes it able to.
    """

    program: str
    packages: str
    options: tuple[str, ...]
    firmware: tuple[tuple[str, str], ...]
    cd: tuple[str, ...]
    bios: tuple[str, ...] = ()
    secure: tuple[str, ...] = ()
    secure_options: tuple[str, ...] = ()


MACHINES = {
    "amd64": Machine(
        "qemu-system-x86_64",
        "qemu-system-x86 ovmf",
        # One of AMD's: on an old one of Intel's Linux changes page tables with each system call,
        # and an emulated machine then takes a third longer. Fewer extensions start faster, too.
        ("-machine", "q35", "-cpu", "qemu64"),
        (
            ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
            ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
            ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
            ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
        ),
        ("ide-cd",),
        # SeaBIOS is there when no other firmware is, and uses the serial line without graphics.
        ("-machine", "graphics=off"),
        ("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd"),
        # Only firmware in system management mode may write its variables.
        (
            *("-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"),
            *("-global", "ICH9-LPC.disable_s3=1"),
        ),
    ),
    "arm64": Machine(
        "qemu-system-aarch64",
        "qemu-system-arm qemu-efi-aarch64",
        ("-machine", "virt", "-cpu", "cortex-a57"),
        (
            ("/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
            ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
            (
                "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw",
                "/usr/share/edk2/aarch64/vars-template-pflash.raw",
            ),
        ),
        ("virtio-scsi-pci", "scsi-cd"),
    ),
}

_4K = "logical_block_size=4096,physical_block_size=4096"


class Device(enum.Enum):
    """What the machine sees a drive as: QEMU's devices, the last of which has the drive.

    A CD has those of the machine: SATA on a PC.
    """

    CD = ()
    SCSI_CD = ("virtio-scsi-pci", "scsi-cd")
    IDE_CD = ("ide-cd",)
    VIRTIO = ("virtio-blk-pci",)
    USB = ("qemu-xhci", "usb-storage")
    SATA = ("ide-hd",)
    NVME = ("nvme,serial=image",)
    VIRTIO_4K = (f"virtio-blk-pci,{_4K}",)
    NVME_4K = (f"nvme,serial=image,{_4K}",)
    # Not usb-storage, which takes no notice of the size of sectors.
    USB_4K = ("qemu-xhci", "usb-bot,id=bot", f"scsi-hd,bus=bot.0,{_4K}")

    @property
    def is_cd(self) -> bool:
        return self in (Device.CD, Device.SCSI_CD, Device.IDE_CD)


@dataclass(frozen=True, slots=True)
class Drive:
    """The file `path` as a drive; what the machine writes is forgotten unless it `keeps` it.

    `format` is QEMU's name of the file's format. A drive that keeps is VIRTIO, and its writes may
    be recorded in the file `log`.
    """

    path: Path
    device: Device = Device.VIRTIO
    keeps: bool = False
    log: Path | None = None
    format: str = "raw"


class Firmware(enum.Enum):
    """What starts the machine's bootloader; a mute BIOS says nothing on the serial console."""

    UEFI = "uefi"
    BIOS = "bios"
    MUTE_BIOS = "mute bios"


@dataclass(frozen=True, slots=True)
class SecureFirmware:
    """UEFI firmware that checks signatures; its keys are in the file `variables`, which changes."""

    variables: Path


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel to start directly, without firmware and bootloader."""

    image: Path
    initramfs: Path
    arguments: str


@dataclass(frozen=True, slots=True)
class Setup:
    """A machine that `start` starts, by firmware from the first of `drives` that boots.

    `tpm` is the control socket of its TPM, if it has one; `memory` is in MiB.
    """

    drives: tuple[Drive, ...]
    start: Firmware | SecureFirmware | Kernel = Firmware.UEFI
    arch: str = "amd64"
    memory: int = MEMORY
    tpm: Path | None = None
