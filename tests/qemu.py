"""Machines in QEMU: the only place that starts it, for the tests and for `make boot-iso`.

`python -m tests.qemu IMAGE` boots an image and shows its serial console. On a terminal the console
is the person's: a shell at the end, Ctrl-A X to leave. Elsewhere it ends with the witness's line,
and the exit code says whether the image cache is ready.

IMAGER_QEMU_ACCEL names QEMU's accelerator, such as kvm; tcg, the default, works everywhere.
"""

from __future__ import annotations

import argparse
import codecs
import enum
import os
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

_QEMU = "qemu-system-x86_64"
# The CPU is an old one on purpose: emulated, the kernel starts faster with fewer extensions.
_MACHINE = (
    "-cpu", "Nehalem", "-m", "1024", "-nodefaults", "-display", "none", "-net", "none",
    "-no-reboot",
)  # fmt: skip
# UEFI firmware and its empty variables: Debian and Ubuntu, their older releases, Fedora, Arch.
_FIRMWARE = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
)
_MENU = "Boot in "  # systemd-boot counts its timeout down behind these words
_WITNESS_LINE = re.compile(r"^imagecache: .*$", re.MULTILINE)
# What a machine says that will not go on: Linux, and UEFI firmware.
_DEAD_ENDS = ("Kernel panic - not syncing", "BdsDxe: No bootable option")
_TAIL = 2000
BOOT_SECONDS = 240
_USER_BOOT_SECONDS = 900


class BootError(Exception):
    """QEMU is not there, or the machine did not do what was awaited."""


class Device(enum.Enum):
    """What the machine sees the image as; the value is QEMU's devices for drive `image`."""

    CD = ("ide-cd,drive=image",)
    VIRTIO = ("virtio-blk-pci,drive=image",)
    USB = ("qemu-xhci", "usb-storage,drive=image")
    SATA = ("ide-hd,drive=image",)
    NVME = ("nvme,serial=image,drive=image",)


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
    seconds: float = BOOT_SECONDS,
) -> str:
    """Boot `image`, which stays as it is, until the machine is off; return its console's text.

    It boots by UEFI, or starts `kernel`. Raises BootError when it is not off after `seconds`.
    """
    return "".join(console(_command(image, device, kernel=kernel), seconds=seconds))


def witness_line(text: str) -> str:
    """Return the one line that the witness says; raises BootError when there is not just one."""
    lines = [line.strip() for line in _WITNESS_LINE.findall(text)]
    if len(lines) != 1:
        raise BootError(f"{len(lines)} lines `imagecache:`, not one; {_tail(text)}")
    return str(lines[0])


def _command(image: Path | None, device: Device, *, kernel: Kernel | None = None) -> list[str]:
    """Return QEMU's command line, all but where the serial console goes."""
    if shutil.which(_QEMU) is None:
        raise BootError(f"{_QEMU} is not installed: apt install qemu-system-x86 ovmf")
    accelerator = os.environ.get("IMAGER_QEMU_ACCEL") or "tcg"
    argv = [_QEMU, "-machine", f"q35,accel={accelerator}", *_MACHINE]
    if kernel is None:
        code, variables = _firmware()
        argv += _drive(code, "if=pflash,unit=0,readonly=on")
        argv += _drive(variables, "if=pflash,unit=1,snapshot=on")
    else:
        argv += ["-kernel", str(kernel.image), "-initrd", str(kernel.initramfs)]
        argv += ["-append", kernel.arguments]
    if image is not None:
        medium = ",media=cdrom" if device is Device.CD else ",snapshot=on"
        argv += _drive(image, f"if=none,id=image{medium}")
        argv += [word for option in device.value for word in ("-device", option)]
    return argv


def _drive(path: Path, options: str) -> list[str]:
    # In QEMU's options a comma within a value is written twice.
    return ["-drive", f"{options},format=raw,file={str(path).replace(',', ',,')}"]


def _firmware() -> tuple[Path, Path]:
    for code, variables in _FIRMWARE:
        if Path(code).is_file() and Path(variables).is_file():
            return Path(code), Path(variables)
    raise BootError("no UEFI firmware for QEMU is installed: apt install ovmf")


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


def console(argv: Sequence[str], *, seconds: float) -> Iterator[str]:
    """Run QEMU and yield its serial console as it comes; Enter ends the bootloader's wait.

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
            if not waited and _MENU in text:
                waited = True
                qemu.stdin.write(b"\r")
            yield new
            if any(words in text for words in _DEAD_ENDS):
                raise BootError(f"the machine does not go on; {_tail(text)}")
        else:
            raise BootError(f"not off after {seconds:.0f} s; {_tail(text)}")
        if qemu.wait() != 0:
            raise BootError(f"QEMU ended with exit code {qemu.returncode}; {_tail(text)}")


def _tail(text: str) -> str:
    return f"the console ends:\n{text[-_TAIL:]}"


def main() -> int:
    """Boot the image of the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="tests.qemu", description="Boot an image in QEMU.")
    parser.add_argument("image", type=Path, help="an ISO or raw disk, also as .zst; not changed")
    names = [device.name.lower() for device in Device]
    parser.add_argument("--device", choices=names, help="default: cd for .iso, else virtio")
    arguments = parser.parse_args()
    image: Path = arguments.image
    if not image.is_file():
        parser.error(f"{image} does not exist: `make demo` makes one")
    is_iso = image.name.removesuffix(".zst").endswith(".iso")
    name = arguments.device or ("cd" if is_iso else "virtio")
    try:
        with _decompressed(image) as raw:
            argv = _command(raw, Device[name.upper()])
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
