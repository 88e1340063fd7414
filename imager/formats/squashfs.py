"""Create a squashfs image with squashfs-tools, from a tar archive.

The tar makes the image independent of the user, the umask and the clock, and it carries SELinux
labels without root. mksquashfs gives the same bytes with any number of processors.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from imager.content.extents import Content
from imager.content.reading import hash_content, iterate_bytes
from imager.content.rootfiles import FOLDER_MODE, RootFiles
from imager.content.tar import plan_root_tar, plan_tar
from imager.content.tree import ROOT, Tree
from imager.support.atomic import atomic_folder
from imager.support.tools import run_tool

_PROGRAM, _PACKAGE = "mksquashfs", "squashfs-tools"
_BLOCK_SIZE = 128 << 10
_VERSION = re.compile(rb"mksquashfs version (\d+)\.(\d+)")
# The first version whose pseudo definitions set extended attributes.
_LABELS_ROOT_SINCE = (4, 6)


@dataclass(frozen=True, slots=True)
class Compression:
    """The zstd level, and the `block_size` in bytes of data compressed together.

    Larger blocks compress better, but reading part of a file then reads more data.
    """

    level: int
    block_size: int = _BLOCK_SIZE

    def options(self) -> tuple[str, ...]:
        """Return mksquashfs's options."""
        packing = ("-comp", "zstd", "-Xcompression-level", str(self.level))
        return (*packing, "-b", str(self.block_size))


@dataclass(frozen=True, slots=True)
class XzCompression:
    """xz, with a dictionary as large as a block."""

    def options(self) -> tuple[str, ...]:
        """Return mksquashfs's options."""
        return ("-comp", "xz", "-Xdict-size", "100%", "-b", str(_BLOCK_SIZE))


@dataclass(frozen=True, slots=True)
class _Job:
    """An archive to pack, with mksquashfs's options."""

    tar: Content
    options: tuple[str, ...]

    @classmethod
    def of_tree(cls, tree: Tree, timestamp: int, compression: Compression) -> _Job:
        tar = plan_tar(tree, timestamp=timestamp).content
        return cls(tar, _options(compression, timestamp, "-no-xattrs"))

    @classmethod
    def of_root(
        cls, root: RootFiles, timestamp: int, compression: Compression | XzCompression
    ) -> _Job:
        tar = plan_root_tar(root, timestamp=timestamp).content
        mode = root.folder_modes.get(ROOT, FOLDER_MODE)
        options = _options(compression, timestamp, "-xattrs", root_mode=mode)
        return cls(tar, (*options, *_root_label(root)))

    def key(self) -> str:
        """Return the digest of all that determines the image."""
        # Other versions may compress differently.
        made_by = b"\0".join([*map(str.encode, self.options), _version()])
        return hashlib.sha256(hash_content(self.tar) + made_by).hexdigest()

    def write(self, path: Path) -> None:
        """Write the image to a new file."""
        # Debian's sqfstar, which also reads tar archives, has no option for the level.
        argv: list[str | Path] = [_PROGRAM, "-", path, "-tar", *self.options, "-no-progress"]
        run_tool(argv, package=_PACKAGE, stdin=iterate_bytes(self.tar))

    def cached(self, cache: Path) -> Path:
        """Return the image in `cache`, created there if it is missing."""
        path = cache / f"{self.key()}.squashfs"
        if not path.is_file():
            with atomic_folder(path, one_file=True) as folder:
                self.write(folder / path.name)
                (folder / path.name).chmod(0o644)
        return path


def _options(
    compression: Compression | XzCompression,
    timestamp: int,
    xattrs: str,
    *,
    root_mode: int = FOLDER_MODE,
) -> tuple[str, ...]:
    """Return mksquashfs's options for a root-owned image with the time `timestamp`."""
    times = ("-mkfs-time", str(timestamp), "-all-time", str(timestamp))
    owner = ("-root-mode", f"{root_mode:04o}", "-all-root", xattrs)
    return (*compression.options(), *times, *owner)


def _root_label(root: RootFiles) -> tuple[str, ...]:
    """Return the options that label the root folder, which mksquashfs ignores in a tar."""
    label = root.labels.get(ROOT)
    if not label or not labels_root():
        return ()
    # In base64: plain text may be taken for a number, and hexadecimal makes mksquashfs crash.
    return ("-p", f"/ x security.selinux=0s{base64.b64encode(label.encode()).decode()}")


def labels_root() -> bool:
    """Return whether mksquashfs can label the root folder; raises DependencyError."""
    found = _VERSION.search(_version())
    return found is not None and (int(found[1]), int(found[2])) >= _LABELS_ROOT_SINCE


def _version() -> bytes:
    return run_tool([_PROGRAM, "-version"], package=_PACKAGE)


def cached_squashfs_image(
    tree: Tree, *, timestamp: int, compression: Compression, cache: Path
) -> bytes:
    """Return a squashfs image of `tree`, kept in the folder `cache`.

    All entries are owned by root and have the modification time `timestamp` (seconds since 1970,
    UTC). Raises DependencyError if mksquashfs is missing or fails.
    """
    return _Job.of_tree(tree, timestamp, compression).cached(cache).read_bytes()


def cached_squashfs_root(
    root: RootFiles, *, timestamp: int, compression: Compression | XzCompression, cache: Path
) -> Path:
    """Return a squashfs image of `root`, with SELinux labels, in the folder `cache`.

    The label of the root folder itself is left out unless `labels_root`. Raises DependencyError if
    mksquashfs is missing or fails.
    """
    return _Job.of_root(root, timestamp, compression).cached(cache)
