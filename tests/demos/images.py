"""`make demo`: build an ISO and a disk image with real container images from nothing.

Without a list of the user's own, the only image is a whole Debian root file system, made from
Debian's packages. A registry on loopback serves it as a mirror of docker.io, so the cache names
the image as a machine would, and the same packages give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import imager
from imager.bootassets.debian import SUITE
from imager.distro.apt import find_mirror
from imager.support.arch import ARCHES
from imager.support.repro import source_date_epoch
from tests.lib.caches.caches import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE, descriptor, dump, sha256
from tests.lib.registries.registry import copy_image, running_registry

_KEYS = Path(imager.__file__).parent / "distro" / "keys"
_REPOSITORY = "library/debian"
_REFERENCE = f"docker.io/{_REPOSITORY}:{SUITE}"
_HOST_ARCHES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(slots=True)
class Steps:
    """Announces `total` steps by number, and reports how long each took."""

    total: int
    done: int = field(default=0, init=False)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announce a step and time what happens inside the block."""
        self.done += 1
        print(f"\n[{self.done}/{self.total}] {title}", flush=True)
        started = time.monotonic()
        yield
        print(f"[{self.done}/{self.total}] took {time.monotonic() - started:.1f} s", flush=True)


def main() -> None:
    """Build the demo's files in the output folder and print what to do with them."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("_out"), help="OUT")
    parser.add_argument("--images", type=Path, help="IMAGES, a list of images of your own")
    parser.add_argument("--arch", choices=[arch.name for arch in ARCHES], default="amd64")
    arguments = parser.parse_args()
    output, images, arch = arguments.output, arguments.images, arguments.arch
    if images and not images.is_file():
        sys.exit(f"IMAGES={images}: no such file; give a text file with one image a line")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"OUT={output}: {error.strerror}; give a folder")
    steps = Steps(3 if images else 5)
    cache = output / "image-cache.oci"
    if images:
        with steps.step(f"Pulling the images of {images} into {cache}"):
            _create_cache(cache, "--images", images, arch=arch)
    else:
        _cache_debian(cache, steps, arch=arch)
    serial = next(each.serial_console for each in ARCHES if each.name == arch)
    consoles = ("--extra-kernel-arg", f"console={serial}", "--extra-kernel-arg", "console=tty0")
    options = ("--arch", arch, "--image-cache", cache, "--output", output, *consoles)
    for profile, what, more in (
        ("iso", "ISO", ()),
        ("metal", "disk image", ("--out-format", "raw")),
    ):
        with steps.step(f"Building the {what} with that cache inside"):
            _imager(profile, *options, *more)
    _print_next_steps(output, arch)


def _cache_debian(cache: Path, steps: Steps, *, arch: str) -> None:
    """Make a Debian image, push it to a registry and create the cache from there."""
    with tempfile.TemporaryDirectory(prefix="imager-demo-") as name:
        folder = Path(name)
        # Maintainer scripts need a processor of the architecture; unpacking does not.
        native = _HOST_ARCHES.get(platform.machine()) == arch
        variant = (
            ("--variant=minbase",) if native else ("--variant=extract", "--include=?essential")
        )
        how = "installed" if native else "unpacked, not configured"
        root = folder / "debian.tar"
        with steps.step(f"Making a Debian {SUITE} image for {arch} with mmdebstrap ({how})"):
            _run(
                *("mmdebstrap", "--quiet", *variant, f"--keyring={_KEYS}"),
                *(f"--architectures={arch}", SUITE, str(root), find_mirror()),
            )
        layout = _make_layout(folder / "debian.oci", root, arch=arch)
        with running_registry(folder / "registry") as registry:
            with steps.step("Pushing it to a registry on this machine with skopeo"):
                target = f"docker://{registry.host}/{_REPOSITORY}:{SUITE}"
                copy_image(f"oci:{layout}", target, "--dest-tls-verify=false")
            mirror = f"docker.io=http://{registry.host}"
            with steps.step(f"Pulling {_REFERENCE} from there into {cache}"):
                _create_cache(
                    *(cache, "--registry-mirror", mirror, "--images", "-"),
                    stdin=f"{_REFERENCE}\n",
                    arch=arch,
                )


def _make_layout(folder: Path, root: Path, *, arch: str) -> Path:
    """Write an OCI layout of one image whose only layer is the tar `root`; return its folder."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layer = root.read_bytes()
    config = dump(
        {
            "architecture": arch,
            "os": "linux",
            "config": {"Cmd": ["/bin/bash"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer)}"]},
        }
    )
    manifest = dump(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor(CONFIG_TYPE, config),
            "layers": [descriptor(LAYER_TYPE, layer)],
        }
    )
    for data in (layer, config, manifest):
        (blobs / sha256(data)).write_bytes(data)
    index = {"schemaVersion": 2, "manifests": [descriptor(MANIFEST_TYPE, manifest)]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def _create_cache(cache: Path, *options: str | Path, arch: str, stdin: str = "") -> None:
    _imager(
        *("images", "cache-create", "--image-cache-path", cache, "--force"),
        *("--platform", f"linux/{arch}", *options),
        stdin=stdin,
    )


def _imager(*arguments: str | Path, stdin: str = "") -> None:
    _run(sys.executable, "-m", "imager", *map(str, arguments), stdin=stdin)


def _run(*argv: str, stdin: str = "") -> None:
    environment = {"SOURCE_DATE_EPOCH": str(source_date_epoch()), **os.environ}
    done = subprocess.run(argv, input=stdin, text=True, env=environment, check=False)
    if done.returncode != 0:
        sys.exit(f"{Path(argv[0]).name} failed with exit code {done.returncode}")


def _print_next_steps(output: Path, arch: str) -> None:
    iso, disk = output / f"metal-{arch}.iso", output / f"metal-{arch}.raw"
    variables = " ".join(
        [
            *([f"ARCH={arch}"] if arch != "amd64" else []),
            *([f"OUT={output}"] if output != Path("_out") else []),
        ]
    )
    print(f"""
Built {iso} and {disk}.

Boot them in QEMU; `imagecache: ready` appears on the console:
    make boot-iso {variables}
    make boot-disk {variables}
Write the ISO to a USB stick, or the disk image to a machine's disk (this overwrites all of it):
    sudo dd if={iso} of=/dev/sdX bs=4M conv=fsync oflag=direct status=progress
    sudo dd if={disk} of=/dev/sdX bs=4M conv=fsync oflag=direct status=progress
""")


if __name__ == "__main__":
    main()
