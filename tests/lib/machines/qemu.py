"""QEMU's command line for a machine.

IMAGER_QEMU_ACCEL names QEMU's accelerator, such as kvm; tcg, the default, works everywhere.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.lib.machines.hardware import (
    MACHINES,
    Device,
    Drive,
    Firmware,
    Kernel,
    Machine,
    SecureFirmware,
    Setup,
)

# Without a network firmware does not try to boot from one.
_COMMON = ("-nodefaults", "-display", "none", "-net", "none", "-no-reboot")


class BootError(Exception):
    """QEMU is not there, or the machine did not do what was awaited."""


def command(setup: Setup) -> list[str]:
    """Return QEMU's command line, all but where the serial console goes.

    Raises BootError when what it takes is not installed.
    """
    machine = MACHINES[setup.arch]
    if shutil.which(machine.program) is None:
        raise BootError(f"{machine.program} is not installed: apt install {machine.packages}")
    argv = [machine.program, *machine.options, "-accel", _accelerator(machine), *_COMMON]
    argv += ["-m", str(setup.memory), *_start(machine, setup.start)]
    if any(drive.device is Device.IDE_CD for drive in setup.drives):
        # A machine of the kind q35 has SATA where one of the kind pc has IDE.
        argv += ["-machine", "pc"]
    for number, drive in enumerate(setup.drives):
        # A kernel that is started directly is itself the first thing to boot.
        turn = "" if isinstance(setup.start, Kernel) else f",bootindex={number}"
        argv += _drive(machine, drive, f"drive{number}", turn)
    return argv + (_tpm(setup.tpm) if setup.tpm else [])


def _accelerator(machine: Machine) -> str:
    """Return the accelerator that was asked for; another architecture is always emulated."""
    own = machine.program.removeprefix("qemu-system-") == platform.machine()
    return os.environ.get("IMAGER_QEMU_ACCEL") or "tcg" if own else "tcg"


def _start(machine: Machine, start: Firmware | SecureFirmware | Kernel) -> list[str]:
    match start:
        case Kernel():
            files = ("-kernel", str(start.image), "-initrd", str(start.initramfs))
            return [*files, "-append", start.arguments]
        case SecureFirmware():
            return _secure(machine, start.variables)
        case Firmware.UEFI:
            return _uefi(machine)
    if not machine.bios:
        raise BootError(f"a machine of {machine.program} has no BIOS")
    return list(machine.bios) if start is Firmware.BIOS else []


def _uefi(machine: Machine) -> list[str]:
    for code, variables in machine.firmware:
        if Path(code).is_file() and Path(variables).is_file():
            return [
                *_flash(Path(code), "unit=0,readonly=on"),
                *_flash(Path(variables), "unit=1,snapshot=on"),
            ]
    raise BootError(f"no UEFI firmware for QEMU is installed: apt install {machine.packages}")


def _secure(machine: Machine, variables: Path) -> list[str]:
    for code in map(Path, machine.secure):
        if code.is_file():
            flashes = [*_flash(code, "unit=0,readonly=on"), *_flash(variables, "unit=1")]
            return [*machine.secure_options, *flashes]
    raise BootError(f"no firmware that checks signatures: apt install {machine.packages}")


def _flash(path: Path, options: str) -> list[str]:
    return ["-drive", f"if=pflash,{options},format=raw,file={_escaped(path)}"]


def _drive(machine: Machine, drive: Drive, name: str, turn: str) -> list[str]:
    """Return the options of a drive; `turn` says when firmware tries it."""
    *others, last = machine.cd if drive.device is Device.CD else drive.device.value
    devices = (*others, f"{last},drive={name}{turn}")
    backend = _recorded(drive, name) if drive.log else list(_file(drive, name))
    return [*backend, *(word for device in devices for word in ("-device", device))]


def _file(drive: Drive, name: str) -> Iterator[str]:
    # What is written to a snapshot is in a file without a name, gone with QEMU.
    kind = ",media=cdrom" if drive.device.is_cd else "" if drive.keeps else ",snapshot=on"
    yield from (
        "-drive",
        f"if=none,id={name}{kind},format={drive.format},file={_escaped(drive.path)}",
    )


def _recorded(drive: Drive, name: str) -> list[str]:
    names = {"node-name": name, "file.driver": "file", "log.driver": "file"}
    files = {"file.filename": drive.path, "log.filename": drive.log}
    options = {"driver": "blklogwrites", **names, **files}
    return ["-blockdev", ",".join(f"{key}={_escaped(value)}" for key, value in options.items())]


def _tpm(control: Path) -> list[str]:
    socket = ("-chardev", f"socket,id=tpm,path={_escaped(control)}")
    return [*socket, "-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-tis,tpmdev=tpm"]


def _escaped(value: object) -> str:
    """Return `value` escaped for QEMU's options, where a comma is doubled."""
    return str(value).replace(",", ",,")
