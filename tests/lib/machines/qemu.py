"""Machines in QEMU: the only place that starts it, for the tests and for `make boot-iso`.

`python -m tests.lib.machines.qemu IMAGE` boots an image and shows its serial console. On a terminal
the console is the person's: a shell at the end, Ctrl-A X to leave. Elsewhere it ends with the
witness's line, and the exit code says whether the image cache is ready.

IMAGER_QEMU_ACCEL names QEMU's accelerator, such as kvm; tcg, the default, works everywhere.
"""

from __future__ import annotations

import argparse
import codecs
import enum
import os
import platform
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_COMMON = ("-nodefaults", "-display", "none", "-net", "none", "-no-reboot")


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
        # The CPU is an old one on purpose: emulated, the kernel starts faster with fewer
        # extensions.
        ("-machine", "q35", "-cpu", "Nehalem"),
        (
            ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
            ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
            ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
            ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
        ),
        ("ide-cd,drive=image",),
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
        ("virtio-scsi-pci", "scsi-cd,drive=image"),
    ),
}
# Behind these words systemd-boot and GRUB count their timeout down.
_MENUS = ("Boot in ", "will be executed automatically in ")
# SeaBIOS moves the cursor even between two letters of a word.
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1bc")
_FIRMWARE_LINE = re.compile(r"^firmware: .*$", re.MULTILINE)
_WITNESS_LINE = re.compile(r"^imagecache: .*$", re.MULTILINE)
# What a machine says that will not go on: Linux, UEFI firmware, SeaBIOS, GRUB.
_DEAD_ENDS = (
    "Kernel panic - not syncing",
    "BdsDxe: No bootable option",
    "UEFI Interactive Shell",
    "No bootable device.",
    "grub rescue> ",
    "grub> ",
)
# Keys for a boot menu: Enter, also after what chooses the next entry in GRUB and systemd-boot.
ENTER = b"\r"
GRUB_NEXT = b"\x0e\r"
SD_BOOT_NEXT = b"j\r"
_TAIL = 2000
BOOT_SECONDS = 240
MEMORY = 1024
_USER_BOOT_SECONDS = 900


class BootError(Exception):
    """QEMU is not there, or the machine did not do what was awaited."""


_4K = "logical_block_size=4096,physical_block_size=4096"


class Device(enum.Enum):
    """What the machine sees the image as; the value is QEMU's devices for drive `image`.

    A CD has those of the machine: SATA on a PC.
    """

    CD = ()
    SCSI_CD = ("virtio-scsi-pci", "scsi-cd,drive=image")
    IDE_CD = ("ide-cd,drive=image",)
    VIRTIO = ("virtio-blk-pci,drive=image",)
    USB = ("qemu-xhci", "usb-storage,drive=image")
    SATA = ("ide-hd,drive=image",)
    NVME = ("nvme,serial=image,drive=image",)
    VIRTIO_4K = (f"virtio-blk-pci,drive=image,{_4K}",)
    NVME_4K = (f"nvme,serial=image,drive=image,{_4K}",)
    # Not usb-storage, which takes no notice of the size of sectors.
    USB_4K = ("qemu-xhci", "usb-bot,id=bot", f"scsi-hd,bus=bot.0,drive=image,{_4K}")


class Firmware(enum.Enum):
    """What starts the machine's bootloader."""

    UEFI = "uefi"
    BIOS = "bios"


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


def boot(
    image: Path | None,
    device: Device,
    *,
    kernel: Kernel | None = None,
    firmware: Firmware | SecureFirmware = Firmware.UEFI,
    arch: str = "amd64",
    keys: bytes = ENTER,
    tpm: Path | None = None,
    disk: Path | None = None,
    log: Path | None = None,
    memory: int = MEMORY,
    seconds: float = BOOT_SECONDS,
) -> str:
    """Boot `image`, which stays as it is, until the machine is off; return its console's text.

    It boots by `firmware`, or starts `kernel`; `tpm` is the control socket of its TPM, if it has
    one, `disk` a second drive, which is written to, with all writes recorded in `log`. `memory` is
    in MiB. Raises BootError when it is not off after `seconds`.
    """
    machine = MACHINES[arch]
    argv = _command(image, device, machine, kernel=kernel, firmware=firmware, memory=memory)
    argv += _tpm(tpm) if tpm else []
    argv += _disk(disk, log) if disk else []
    return "".join(console(argv, seconds=seconds, keys=keys))


def show_boot(image: Path, *, disk: Path, seconds: float) -> str:
    """Boot an ISO, beside a disk that is written to; print its console until it is off, return it.

    Raises BootError as `boot`.
    """
    text = ""
    argv = [*_command(image, Device.CD, MACHINES["amd64"]), *_disk(disk, None)]
    for new in console(argv, seconds=seconds):
        sys.stdout.write(new)
        sys.stdout.flush()
        text += new
    return text


def plain(text: str) -> str:
    """Return `text` without what moves the cursor and sets colours."""
    return _ESCAPE.sub("", text)


def firmware_line(text: str) -> str:
    """Return what the witness says of the firmware; raises BootError when it does not."""
    found = _FIRMWARE_LINE.search(text)
    if found is None:
        raise BootError(f"no line `firmware:`; {_tail(text)}")
    return found[0].strip()


def witness_line(text: str) -> str:
    """Return the one line that the witness says; raises BootError when there is not just one."""
    lines = [line.strip() for line in _WITNESS_LINE.findall(text)]
    if len(lines) != 1:
        raise BootError(f"{len(lines)} lines `imagecache:`, not one; {_tail(text)}")
    return str(lines[0])


def _command(
    image: Path | None,
    device: Device,
    machine: Machine,
    *,
    kernel: Kernel | None = None,
    firmware: Firmware | SecureFirmware = Firmware.UEFI,
    memory: int = MEMORY,
) -> list[str]:
    """Return QEMU's command line, all but where the serial console goes."""
    if shutil.which(machine.program) is None:
        raise BootError(f"{machine.program} is not installed: apt install {machine.packages}")
    argv = [machine.program, *machine.options, "-accel", _accelerator(machine), *_COMMON]
    argv += ["-m", str(memory)]
    if kernel is not None:
        argv += ["-kernel", str(kernel.image), "-initrd", str(kernel.initramfs)]
        argv += ["-append", kernel.arguments]
    else:
        argv += _firmware(machine, firmware)
    if image is not None:
        is_cd = device in (Device.CD, Device.SCSI_CD, Device.IDE_CD)
        medium = ",media=cdrom" if is_cd else ",snapshot=on"
        argv += _drive(image, f"if=none,id=image{medium}")
        if device is Device.IDE_CD:
            # A machine of the kind q35 has SATA where one of the kind pc has IDE.
            argv += ["-machine", "pc"]
        devices = machine.cd if device is Device.CD else device.value
        argv += [word for option in devices for word in ("-device", option)]
    return argv


def _accelerator(machine: Machine) -> str:
    """Return the accelerator that was asked for; another architecture is always emulated."""
    own = machine.program.removeprefix("qemu-system-") == platform.machine()
    return os.environ.get("IMAGER_QEMU_ACCEL") or "tcg" if own else "tcg"


def _drive(path: Path, options: str) -> list[str]:
    # In QEMU's options a comma within a value is written twice.
    return ["-drive", f"{options},format=raw,file={str(path).replace(',', ',,')}"]


def _firmware(machine: Machine, firmware: Firmware | SecureFirmware) -> list[str]:
    if isinstance(firmware, SecureFirmware):
        return _secure(machine, firmware.variables)
    return _uefi(machine) if firmware is Firmware.UEFI else _bios(machine)


def _tpm(control: Path) -> list[str]:
    socket = ("-chardev", f"socket,id=tpm,path={control}", "-tpmdev", "emulator,id=tpm,chardev=tpm")
    return [*socket, "-device", "tpm-tis,tpmdev=tpm"]


def _disk(path: Path, log: Path | None) -> list[str]:
    device = ["-device", "virtio-blk-pci,drive=disk"]
    if log is None:
        return [*_drive(path, "if=none,id=disk"), *device]
    names = {"node-name": "disk", "file.driver": "file", "log.driver": "file"}
    options = {"driver": "blklogwrites", **names, "file.filename": path, "log.filename": log}
    text = ",".join(f"{key}={str(value).replace(',', ',,')}" for key, value in options.items())
    return ["-blockdev", text, *device]


def _bios(machine: Machine) -> list[str]:
    if not machine.bios:
        raise BootError(f"a machine of {machine.program} has no BIOS")
    return list(machine.bios)


def _uefi(machine: Machine) -> list[str]:
    for code, variables in machine.firmware:
        if Path(code).is_file() and Path(variables).is_file():
            return [
                *_drive(Path(code), "if=pflash,unit=0,readonly=on"),
                *_drive(Path(variables), "if=pflash,unit=1,snapshot=on"),
            ]
    raise BootError(f"no UEFI firmware for QEMU is installed: apt install {machine.packages}")


def _secure(machine: Machine, variables: Path) -> list[str]:
    for code in map(Path, machine.secure):
        if code.is_file():
            return [
                *machine.secure_options,
                *_drive(code, "if=pflash,unit=0,readonly=on"),
                *_drive(variables, "if=pflash,unit=1"),
            ]
    raise BootError(f"no firmware that checks signatures: apt install {machine.packages}")


@contextmanager
def _running(argv: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run QEMU meanwhile; it is gone afterwards, whatever happened."""
    process = subprocess.Popen(
        [*argv, "-serial", "stdio"],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def console(argv: Sequence[str], *, seconds: float, keys: bytes = ENTER) -> Iterator[str]:
    """Run QEMU and yield its serial console as it comes; `keys` are hit in the boot menu.

    Raises BootError when QEMU has not ended after `seconds`, and when it or the machine fails.
    """
    end = time.monotonic() + seconds
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = ""
    waited = False
    with _running(argv) as qemu:
        assert qemu.stdin is not None
        assert qemu.stdout is not None
        while select.select([qemu.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
            data = qemu.stdout.read(1 << 16)
            if not data:
                break
            new = decoder.decode(data)
            text += new
            recent = plain(text[-len(new) - _TAIL :])
            if not waited and any(words in recent for words in _MENUS):
                waited = True
                qemu.stdin.write(keys)
            yield new
            if any(words in recent for words in _DEAD_ENDS):
                raise BootError(f"the machine does not go on; {_tail(text)}")
        else:
            raise BootError(f"not off after {seconds:.0f} s; {_tail(text)}")
        if qemu.wait() != 0:
            raise BootError(f"QEMU ended with exit code {qemu.returncode}; {_tail(text)}")


def _tail(text: str) -> str:
    return f"the console ends:\n{text[-_TAIL:]}"


def main() -> int:
    """Boot the image of the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="tests.lib.machines.qemu", description="Boot an image in QEMU."
    )
    parser.add_argument("image", type=Path, help="an ISO or raw disk, also as .zst; not changed")
    names = [device.name.lower() for device in Device]
    parser.add_argument("--device", choices=names, help="default: cd for .iso, else virtio")
    arguments = parser.parse_args()
    image: Path = arguments.image
    if not image.is_file():
        parser.error(f"{image} does not exist: `make demo` makes one")
    is_iso = image.name.removesuffix(".zst").endswith(".iso")
    machine = MACHINES["arm64" if "arm64" in image.name else "amd64"]
    name = arguments.device or ("cd" if is_iso else "virtio")
    try:
        with _decompressed(image) as raw:
            argv = _command(raw, Device[name.upper()], machine)
            return _attach(argv) if sys.stdin.isatty() else _show(argv)
    except BootError as error:
        sys.stderr.write(f"\n{error}\n")
        return 1


@contextmanager
def _decompressed(image: Path) -> Iterator[Path]:
    """Yield `image` itself, or a temporary sparse file of what is compressed in it."""
    if image.suffix != ".zst":
        yield image
        return
    with tempfile.TemporaryDirectory(prefix="imager-boot-") as folder:
        raw = Path(folder, image.stem)
        done = subprocess.run(["zstd", "-q", "-d", "--sparse", image, "-o", raw], check=False)
        if done.returncode != 0:
            raise BootError(f"{image} cannot be decompressed")
        yield raw


def _attach(argv: Sequence[str]) -> int:
    """Give the console to the person at the terminal until the machine is off."""
    sys.stderr.write("The serial console; Ctrl-A X ends QEMU.\n")
    return subprocess.run([*argv, "-serial", "mon:stdio"], check=False).returncode


def _show(argv: Sequence[str]) -> int:
    """Print the console until the witness has said its line; return 0 when the cache is ready."""
    text = ""
    for new in console(argv, seconds=_USER_BOOT_SECONDS):
        sys.stdout.write(new)
        sys.stdout.flush()
        text += new
        found = _WITNESS_LINE.search(text)
        if found and found.end() < len(text):
            return 0 if found[0].startswith("imagecache: ready ") else 1
    return 1


if __name__ == "__main__":
    sys.exit(main())
