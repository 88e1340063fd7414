"""`make demo`: from nothing to an ISO and a disk that carry real container images.

Without a list of the user's own, the image is a whole Debian root file system, made from
Debian's packages and pulled through a real registry on loopback.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import imager
from imager.bootassets.apt import SUITE, find_mirror
from tests.registry import copy_image, running_registry

_KEYS = Path(imager.__file__).parent / "bootassets" / "keys"
_CONSOLES = ("--extra-kernel-arg", "console=ttyS0", "--extra-kernel-arg", "console=tty0")


def main() -> None:
    """Make the demo's files in the output folder and say what to do with them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("_out"))
    parser.add_argument("--images", type=Path, help="a list of images of your own")
    arguments = parser.parse_args()
    output: Path = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    cache = output / "image-cache.oci"
    if arguments.images:
        _create_cache(cache, arguments.images.read_text())
    else:
        with _debian_in_a_registry() as reference:
            _create_cache(cache, f"{reference}\n")
    for profile, more in (("iso", ()), ("metal", ("--out-format", "raw"))):
        options = ("--image-cache", cache, "--output", output, *_CONSOLES, *more)
        _imager(profile, *options)
    _say_what_next(output)


@contextmanager
def _debian_in_a_registry() -> Iterator[str]:
    """Yield the reference of a Debian image in a registry that runs meanwhile."""
    with tempfile.TemporaryDirectory(prefix="imager-demo-") as folder:
        root = Path(folder, "debian.tar")
        print(f"Making a Debian {SUITE} image with mmdebstrap", flush=True)
        options = ("--quiet", "--variant=minbase", f"--keyring={_KEYS}")
        _run("mmdebstrap", *options, SUITE, str(root), find_mirror())
        with running_registry(Path(folder, "registry")) as registry:
            reference = f"{registry.host}/library/debian:{SUITE}"
            copy_image(f"tarball:{root}", f"docker://{reference}", "--dest-tls-verify=false")
            yield reference


def _create_cache(cache: Path, images: str) -> None:
    options = ("--image-cache-path", cache, "--images", "-", "--force")
    _imager("images", "cache-create", *options, stdin=images)


def _imager(*arguments: str | Path, stdin: str = "") -> None:
    _run(sys.executable, "-m", "imager", *map(str, arguments), stdin=stdin)


def _run(*argv: str, stdin: str = "") -> None:
    done = subprocess.run(argv, input=stdin, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{Path(argv[0]).name} failed with exit code {done.returncode}")


def _say_what_next(output: Path) -> None:
    iso, disk = output / "metal-amd64.iso", output / "metal-amd64.raw"
    print(f"""
Made {iso} and {disk}.

Boot them in QEMU and see `imagecache: ready` on the console:
    make boot-iso
    make boot-disk
Write the ISO to a USB stick, or the disk image to a machine's disk (all on it is lost):
    sudo dd if={iso} of=/dev/sdX bs=4M conv=fsync oflag=direct status=progress
    sudo dd if={disk} of=/dev/sdX bs=4M conv=fsync oflag=direct status=progress
""")


if __name__ == "__main__":
    main()
