"""`make demo-node`: from nothing to a node in QEMU that runs an image out of its own cache.

The ISO carries the cache, and the machine configuration on the kernel's command line; the machine
has no network and an empty disk, on which the configuration asks for the volume IMAGECACHE.
"""

from __future__ import annotations

import argparse
import base64
import subprocess
import sys
import tempfile
from pathlib import Path

import zstandard

from tests.cli import real_assets
from tests.qemu import BootError, show_boot
from tests.runnable import RunnableImage, add_runnable

_CONFIG = """\
machine:
  features:
    imageCache:
      localEnabled: true
---
apiVersion: v1alpha1
kind: VolumeConfig
name: IMAGECACHE
provisioning:
  diskSelector:
    match: disk.transport == "virtio" && !system_disk
  minSize: 64MiB
  maxSize: 256MiB
"""
_IMAGE = RunnableImage("registry.k8s.io", "demo/hello", "v1", says="Hello from the image cache!")
_DISK_SIZE = 512 << 20
_SECONDS = 900


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
        text = show_boot(iso, disk=disk, seconds=_SECONDS)
    except BootError as error:
        sys.exit(f"\n{error}")
    if f"node: ran {_IMAGE.reference}: exit 0" not in text:
        sys.exit("\nthe node has not run the image")


def _make_iso(output: Path) -> Path:
    """Make an ISO that boots the node with a cache of one image."""
    with tempfile.TemporaryDirectory(prefix="imager-demo-") as folder:
        cache = Path(folder, "cache")
        add_runnable(cache, _IMAGE)
        arguments = (
            "console=ttyS0", "quiet", f"talos.config.inline={_inline(_CONFIG)}",
            f"imager.run={_IMAGE.reference}", "imager.poweroff",
        )  # fmt: skip
        options = [word for each in arguments for word in ("--extra-kernel-arg", each)]
        assets = real_assets() / "node"
        argv: list[str | Path] = [
            "iso",
            "--assets",
            assets,
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


def _inline(config: str) -> str:
    return base64.b64encode(zstandard.compress(config.encode())).decode()


if __name__ == "__main__":
    main()
