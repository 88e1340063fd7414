"""A system extension, rebuilt into an initramfs: new and known, against mksquashfs alone."""

from __future__ import annotations

import random
import shutil
import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from tests.bench.cases import Builds, imager, synced
from tests.bench.measure import Case

_MKSQUASHFS = "mksquashfs, zstd 18; sync"
_LIMIT = 1.1
_KNOWN_SECONDS = 2.0
_FILES, _FILE_SIZE = 100, 1_000_000
_VERSION = "v1.13.0"
# What Talos gives mksquashfs, and what makes it reproducible.
_OPTIONS = (
    *("-comp", "zstd", "-Xcompression-level", "18", "-b", "131072", "-all-root", "-xattrs"),
    *("-mkfs-time", "0", "-all-time", "0", "-noappend", "-no-progress", "-quiet"),
)
_MANIFEST = b"""\
version: v1alpha1
metadata:
  name: bench
  version: v1.0.0
  author: Tests
  description: Files to compress.
  compatibility:
    talos:
      version: ">= v1.0.0"
"""


@dataclass(frozen=True, slots=True)
class BenchExtension:
    """An extension: `root` has its files, `image` is the tar of its image."""

    root: Path
    image: Path


def bench_extension(folder: Path) -> BenchExtension:
    """Return an extension of 100 MB that gets less than half as large, made without our code."""
    extension = BenchExtension(folder / "root", folder / "image.tar")
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        files = unfinished / "root/usr/local/lib/bench"
        files.mkdir(parents=True)
        for number in range(_FILES):
            (files / f"{number}.so").write_bytes(_like_code(number))
        with tarfile.open(unfinished / "image.tar", "w") as tar:
            info = tarfile.TarInfo("manifest.yaml")
            info.size = len(_MANIFEST)
            tar.addfile(info, BytesIO(_MANIFEST))
            tar.add(unfinished / "root", "rootfs")
        unfinished.rename(folder)
    return extension


def _like_code(seed: int) -> bytes:
    """Return bytes with repetitions of all lengths between others, as programs have them."""
    source = random.Random(seed)
    data = bytearray(source.randbytes(4096))
    while len(data) < _FILE_SIZE:
        length = source.choice((4, 6, 8, 12, 24, 100))
        start = source.randrange(max(0, len(data) - 100_000), len(data) - length)
        data += data[start : start + length] + source.randbytes(source.choice((1, 3, 8)))
    return bytes(data[:_FILE_SIZE])


def fill_extension_cache(builds: Builds, extension: BenchExtension) -> list[str | Path]:
    """Return the command after which the extension is known."""
    return _build(builds, extension, _known(builds))


def extension_cases(builds: Builds, extension: BenchExtension) -> list[Case]:
    """Return the cases of extensions, each into the empty folder of outputs."""
    image = builds.output / "bench.sqsh"
    return [
        Case(_MKSQUASHFS, synced(image, "mksquashfs", extension.root, image, *_OPTIONS)),
        Case(
            "initramfs with a new extension",
            _build(builds, extension, builds.output / "kept"),
            against=(_MKSQUASHFS,),
            limit=_LIMIT,
        ),
        Case(
            "initramfs with a known extension",
            _build(builds, extension, _known(builds)),
            seconds_limit=_KNOWN_SECONDS,
            build=True,
        ),
    ]


def _known(builds: Builds) -> Path:
    return builds.output.with_name("known")


def _build(builds: Builds, extension: BenchExtension, kept: Path) -> list[str | Path]:
    return [
        *("env", f"XDG_CACHE_HOME={kept}", imager(), "metal", "--output-kind", "initramfs"),
        *("--assets", builds.assets, "--talos-version", _VERSION),
        *("--system-extension-image", extension.image),
        *("--output", builds.output, "-q"),
    ]
