"""`make demo-node`: from nothing to a node in QEMU that runs an image out of its own cache.

The ISO carries the cache, and the machine configuration on the kernel's command line; the machine
has no network and an empty disk, on which the configuration asks for the volume IMAGECACHE.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.lib.machines.booting import show_boot
from tests.lib.machines.hardware import Device, Drive
from tests.lib.machines.node import machine_config
from tests.lib.machines.node_machine import node_arguments, node_assets
from tests.lib.machines.qemu import BootError
from tests.lib.machines.runnable import RunnableImage, add_runnable

_CONFIG = machine_config(
    match='disk.transport == "virtio" && !system_disk', min_size="64MiB", max_size="256MiB"
)
_IMAGE = RunnableImage("registry.k8s.io", "demo/hello", "v1", says="Hello from the image cache!")
_DISK_SIZE = 512 << 20


def main() -> None:
    """Make the ISO and the disk in the output folder, and boot them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("_out"))
    output: Path = parser.parse_args().output / "node"
    output.mkdir(parents=True, exist_ok=True)
    iso = _make_iso(output)
    disk = output / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(_DISK_SIZE)
    print(f"Booting {iso} in QEMU, without a network, with the empty disk {disk}", flush=True)
    try:
        text = show_boot(Drive(iso, Device.CD), Drive(disk, keeps=True))
    except BootError as error:
        sys.exit(f"\n{error}")
    if f"node: ran {_IMAGE.reference}: exit 0" not in text:
        sys.exit("\nthe node has not run the image")


def _make_iso(output: Path) -> Path:
    """Make an ISO that boots the node with a cache of one image."""
    with tempfile.TemporaryDirectory(prefix="imager-demo-") as folder:
        cache = Path(folder, "cache")
        add_runnable(cache, _IMAGE)
        arguments = ["quiet", *node_arguments(_CONFIG, run=[_IMAGE.reference])]
        options = [word for each in arguments for word in ("--extra-kernel-arg", each)]
        argv: list[str | Path] = [
            "iso",
            "--assets",
            node_assets(),
            "--image-cache",
            cache,
            "--output",
            output,
            *options,
        ]
        done = subprocess.run([sys.executable, "-m", "imager", *argv], check=False)
    if done.returncode != 0:
        sys.exit(f"imager failed with exit code {done.returncode}")
    return output / "metal-amd64.iso"


if __name__ == "__main__":
    main()
