"""A squashfs image of files in memory, made by squashfs-tools from a tar.

So neither the user, the umask nor the clock has a part in it.
"""

from __future__ import annotations

import hashlib
import io
import stat
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imager.distro.cpio import CpioEntry
from imager.support.atomic import atomic_file
from imager.support.tools import run_tool

_PROGRAM, _PACKAGE = "mksquashfs", "squashfs-tools"
_TYPES = {
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
}


@dataclass(frozen=True, slots=True)
class Compression:
    """How hard zstd tries, and the `block_size` in bytes that it sees at a time.

    Larger blocks pack better, and more is read for each part of a file.
    """

    level: int
    block_size: int

    def options(self, epoch: int) -> tuple[str, ...]:
        """Return mksquashfs's options for an image of the time `epoch`, owned by root."""
        packing = ("-comp", "zstd", "-Xcompression-level", str(self.level))
        times = ("-mkfs-time", str(epoch), "-all-time", str(epoch))
        owner = ("-root-mode", "0755", "-all-root", "-no-xattrs")
        return (*packing, "-b", str(self.block_size), *times, *owner)


def squashfs_image(
    entries: Iterable[CpioEntry], *, epoch: int, compression: Compression, scratch: Path
) -> bytes:
    """Return an image of `entries`.

    All is owned by root and modified at `epoch` (seconds, UTC). Folders, regular files and
    symbolic links may be in it. Raises DependencyError when mksquashfs is missing or fails.
    """
    return _packed(_tar(entries, epoch=epoch), compression.options(epoch), scratch)


def cached_squashfs_image(
    entries: Iterable[CpioEntry], *, epoch: int, compression: Compression, cache: Path
) -> bytes:
    """Return the same as `squashfs_image`, from `cache` if that has it; else it is put there."""
    tar = _tar(entries, epoch=epoch)
    options = compression.options(epoch)
    # Another version may pack otherwise.
    version = run_tool([_PROGRAM, "-version"], package=_PACKAGE)
    key = hashlib.sha256(tar)
    key.update(b"\0".join([*map(str.encode, options), version]))
    cached = cache / f"{key.hexdigest()}.squashfs"
    if not cached.is_file():
        with (
            atomic_file(cached, mode=0o644) as descriptor,
            open(descriptor, "wb", closefd=False) as file,
        ):
            file.write(_packed(tar, options, cache))
    return cached.read_bytes()


def _packed(tar: bytes, options: Sequence[str], scratch: Path) -> bytes:
    with tempfile.TemporaryDirectory(dir=scratch, prefix="squashfs-") as folder:
        image = Path(folder, "image")
        # Its program for tars, sqfstar, cannot be told a level in Debian's version.
        argv: list[str | Path] = [_PROGRAM, "-", image, "-tar", *options, "-no-progress"]
        run_tool(argv, package=_PACKAGE, stdin=tar)
        return image.read_bytes()


def _tar(entries: Iterable[CpioEntry], *, epoch: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            info = tarfile.TarInfo(entry.path)
            info.type = _TYPES[stat.S_IFMT(entry.mode)]
            info.mode, info.mtime = stat.S_IMODE(entry.mode), epoch
            if info.issym():
                info.linkname = entry.data.decode()
            else:
                info.size = len(entry.data)
            tar.addfile(info, io.BytesIO(entry.data))
    return buffer.getvalue()
