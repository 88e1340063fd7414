"""Outputs to boot, and what the machine must say of their image caches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.lib.caches.caches import CacheFixture
from tests.lib.tools.cli import build, real_assets

CONSOLES = {"amd64": "ttyS0", "arm64": "ttyAMA0"}
# Talos has page tables of its own for the kernel, which take long to change emulated.
_ARGUMENTS = ("imager.poweroff", "pti=off")
NO_CACHE = (
    'imagecache: failed root=- device=- blobs=0 bytes=0 reason="no image cache found: no'
    ' partition labelled IMAGECACHE and no TALOS_ volume with imagecache/"'
)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a cache holds: files, and bytes of its blobs."""

    blobs: int
    size: int
    images: int

    def ready(self, root: str, device: str) -> str:
        """Return the line that the witness must say of the whole cache."""
        return (
            f"imagecache: ready root={root} device={device}"
            f" blobs={self.blobs} bytes={self.size} images={self.images}"
        )

    def failed(self, root: str, device: str, reason: str) -> str:
        """Return the line that the witness must say when `reason` is what is wrong."""
        return (
            f"imagecache: failed root={root} device={device}"
            f' blobs={self.blobs} bytes={self.size} reason="{reason}"'
        )


def counts(cache: CacheFixture) -> Counts:
    blobs = [path.stat().st_size for path in (cache.folder / "blob").iterdir()]
    images = list((cache.folder / "manifests").glob("**/reference/*"))
    return Counts(len(blobs), sum(blobs), len(images))


def kernel_arguments(*arguments: str) -> list[str]:
    """Return the options that add arguments to the kernel's command line."""
    return [word for argument in arguments for word in ("--extra-kernel-arg", argument)]


def make_image(
    profile: str,
    folder: Path,
    *more: str | Path,
    assets: Path | None = None,
    arch: str = "amd64",
) -> Path:
    options = ("--assets", assets or real_assets(arch), "--output", folder, "--out-format", "raw")
    kernel = kernel_arguments(f"console={CONSOLES[arch]}", *_ARGUMENTS)
    done = build(profile, "--arch", arch, *options, *kernel, *more)
    return Path(done["output"])
