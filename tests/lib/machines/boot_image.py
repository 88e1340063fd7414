"""`make boot-iso`, `make boot-disk`: boot an image in QEMU and show its serial console.

On a terminal the console is the person's: a shell at the end, Ctrl-A X to leave. Elsewhere it ends
with the witness's line, and the exit code says whether the image cache is ready.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from tests.lib.machines.console import run_qemu
from tests.lib.machines.hardware import Device, Drive, Setup
from tests.lib.machines.qemu import BootError, command
from tests.lib.machines.screen import Screen

_MEMORY = 1024
_RESULT = re.compile(r"^imagecache: (ready|failed) .*\n", re.MULTILINE)


def main() -> int:
    """Boot the image of the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="tests.lib.machines.boot_image", description="Boot an image in QEMU."
    )
    parser.add_argument("image", type=Path, help="an ISO or raw disk, also as .zst; not changed")
    names = [device.name.lower() for device in Device]
    parser.add_argument("--device", choices=names, help="default: cd for .iso, else virtio")
    arguments = parser.parse_args()
    image: Path = arguments.image
    if not image.is_file():
        parser.error(f"{image} does not exist: `make demo` makes one")
    is_iso = image.name.removesuffix(".zst").endswith(".iso")
    arch = "arm64" if "arm64" in image.name else "amd64"
    name = arguments.device or ("cd" if is_iso else "virtio")
    try:
        with _decompressed(image) as raw:
            drive = Drive(raw, Device[name.upper()])
            argv = command(Setup((drive,), arch=arch, memory=_MEMORY))
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
    screen = Screen()
    with closing(run_qemu(argv, screen)) as news:
        for data in news:
            sys.stdout.write(data.decode(errors="replace"))
            sys.stdout.flush()
            # The line is whole when something is below it, the cursor at least.
            if found := _RESULT.search(f"{screen.text}\n"):
                return 0 if found[1] == "ready" else 1
    return 1


if __name__ == "__main__":
    sys.exit(main())
