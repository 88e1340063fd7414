"""A squashfs image, made by squashfs-tools from a tar.

So neither the user, the umask nor the clock has a part in it.
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
    """The level of zstd, and the `block_size` in bytes that it compresses at a time.

    Larger blocks pack better, and more is read for each part of a file.
    """

    level: int
    block_size: int

    def options(self, timestamp: int) -> tuple[str, ...]:
        """Return mksquashfs's options for an image of the time `timestamp`, owned by root."""
        packing = ("-comp", "zstd", "-Xcompression-level", str(self.level))
        times = ("-mkfs-time", str(timestamp), "-all-time", str(timestamp))
        owner = ("-root-mode", "0755", "-all-root", "-no-xattrs")
        return (*packing, "-b", str(self.block_size), *times, *owner)


def squashfs_image(tree: Tree, *, timestamp: int, compression: Compression, scratch: Path) -> bytes:
    """Return an image of `tree`.

    All is owned by root and modified at `timestamp` (seconds since 1970, UTC). Raises
    DependencyError when mksquashfs is missing or fails.
    """
    tar = read_content(plan_tar(tree, timestamp=timestamp).content)
    return _packed(tar, compression.options(timestamp), scratch)


def cached_squashfs_image(
    tree: Tree, *, timestamp: int, compression: Compression, cache: Path
) -> bytes:
    """Return the same as `squashfs_image`, from `cache` if that has it; else it is put there."""
    tar = read_content(plan_tar(tree, timestamp=timestamp).content)
    options = compression.options(timestamp)
    # Another version may pack otherwise.
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
        # Its program for tars, sqfstar, cannot be told a level in Debian's version.
        argv: list[str | Path] = [_PROGRAM, "-", image, "-tar", *options, "-no-progress"]
        run_tool(argv, package=_PACKAGE, stdin=tar)
        return image.read_bytes()
