"""Create a squashfs image with squashfs-tools, from a tar archive.

The tar makes the image independent of the user, the umask and the clock.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imager.content.reading import read_content
from imager.content.tar import plan_tar
from imager.content.tree import Tree
from imager.support.atomic import write_atomic
from imager.support.tools import run_tool

_PROGRAM, _PACKAGE = "mksquashfs", "squashfs-tools"


@dataclass(frozen=True, slots=True)
class Compression:
    """The zstd level, and the `block_size` in bytes of data compressed together.

    Larger blocks compress better, but reading part of a file then reads more data.
    """

    level: int
    block_size: int

    def options(self, timestamp: int) -> tuple[str, ...]:
        """Return mksquashfs's options for a root-owned image with the time `timestamp`."""
        packing = ("-comp", "zstd", "-Xcompression-level", str(self.level))
        times = ("-mkfs-time", str(timestamp), "-all-time", str(timestamp))
        owner = ("-root-mode", "0755", "-all-root", "-no-xattrs")
        return (*packing, "-b", str(self.block_size), *times, *owner)


def squashfs_image(tree: Tree, *, timestamp: int, compression: Compression, scratch: Path) -> bytes:
    """Return a squashfs image of `tree`.

    All entries are owned by root and have the modification time `timestamp` (seconds since 1970,
    UTC). Raises DependencyError if mksquashfs is missing or fails.
    """
    tar = read_content(plan_tar(tree, timestamp=timestamp).content)
    return _packed(tar, compression.options(timestamp), scratch)


def cached_squashfs_image(
    tree: Tree, *, timestamp: int, compression: Compression, cache: Path
) -> bytes:
    """Return the image of `squashfs_image` from `cache`, or create it and add it there."""
    tar = read_content(plan_tar(tree, timestamp=timestamp).content)
    options = compression.options(timestamp)
    # Other versions may compress differently.
    version = run_tool([_PROGRAM, "-version"], package=_PACKAGE)
    key = hashlib.sha256(tar)
    key.update(b"\0".join([*map(str.encode, options), version]))
    cached = cache / f"{key.hexdigest()}.squashfs"
    if not cached.is_file():
        write_atomic(cached, _packed(tar, options, cache), mode=0o644)
    return cached.read_bytes()


def _packed(tar: bytes, options: Sequence[str], scratch: Path) -> bytes:
    with tempfile.TemporaryDirectory(dir=scratch, prefix="squashfs-") as folder:
        image = Path(folder, "image")
        # Debian's sqfstar, which also reads tar archives, has no option for the level.
        argv: list[str | Path] = [_PROGRAM, "-", image, "-tar", *options, "-no-progress"]
        run_tool(argv, package=_PACKAGE, stdin=tar)
        return image.read_bytes()
