"""Plan an XFS file system: mkfs.xfs lays out the metadata, file data is used in place.

mkfs.xfs gets the tree as a prototype (mkfs.xfs(8), `-p`) in which every file is reserved space, so
it neither reads nor writes file data; xfs_inodes converts the reservations to files and returns
the locations of their blocks. Everything that could differ between two versions of mkfs.xfs or two
machines is pinned: features, geometry, ids and times.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import UUID

from imager.content.tree import ROOT, Tree, VolumePlan, name_of
from imager.formats.errors import ImpossibleNameError, VolumeTooSmallError
from imager.formats.scratch_volume import BLOCK, filled_volume, make_sparse
from imager.formats.xfs.inodes import fill_files
from imager.support.errors import DependencyError, InputError
from imager.support.tools import run_tool
from imager.support.units import GIB, MIB, format_size

# The minimum size of mkfs.xfs since 5.19.
LEAST_XFS_SIZE = 300 * MIB
_LARGEST = 1024 * GIB
# White space ends a token of a prototype; ":" starts a comment, "$" ends a folder.
_NAME = re.compile(r"[A-Za-z0-9_.+~@=-]{1,255}", re.ASCII)
_PATH_MAX = 1000
_PACKAGE = "xfsprogs"
_TREE, _VOLUME, _EMPTY = "tree", "volume", "empty"
# Features that GRUB 2.06 and Linux 5.15 support: those of xfsprogs' lts_5.15.conf, which are no
# longer the defaults of later versions.
_OPTIONS = {
    "-b": "size=4096",
    "-d": "agcount=4,noalign",
    "-i": "size=512,maxpct=25,attr=2,projid32bit=1,sparse=1",
    "-l": "size=64m,version=2,lazy-count=1",
    "-m": "crc=1,finobt=1,rmapbt=0,reflink=1,inobtcount=1,bigtime=1",
    "-n": "size=4096,version=2,ftype=1",
}
# Options to disable features; earlier versions reject them as unknown.
_LATER_OPTIONS = (
    ((5, 19), "-i", "nrext64=0"),
    ((6, 10), "-i", "exchange=0"),
    ((6, 10), "-n", "parent=0"),
)


def plan_xfs(  # noqa: PLR0913 - a volume is named by all of these
    tree: Tree,
    *,
    size: int,
    label: str,
    uuid: UUID,
    timestamp: int,
    scratch: Path,
    sector_size: int = 512,
) -> VolumePlan:
    """Plan an XFS volume of `size` bytes, a multiple of 4096, that holds `tree`, owned by root.

    `label` has at most 12 ASCII characters. Every time is `timestamp` (seconds since 1970, before
    2242); `sector_size` is the disk's, 512 or 4096 bytes.
    `scratch` is an existing folder on a disk with sparse files; temporary files in it are removed
    at the end.

    Raises VolumeTooSmallError if the files do not fit, InputError for an invalid path or size,
    HostError if the scratch disk cannot hold a sparse file of `size` bytes, DependencyError if
    mkfs.xfs is missing, fails, or creates an unexpected volume.
    """
    _check_size(size)
    _check_names(tree)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="xfs-") as name:
        folder = Path(name)
        (folder / _EMPTY).touch()
        (folder / _TREE).write_text(_prototype(tree), encoding="ascii")
        make_sparse(folder / _VOLUME, size)
        options = {**_OPTIONS, "-s": f"size={sector_size}", "-L": label}
        options["-m"] += f",uuid={uuid}"
        try:
            _make(folder, options, timestamp)
        except DependencyError as error:
            raise _meaning(error, tree, size) from error
        sizes = [file.content.size for file in tree.files]
        runs = fill_files(folder / _VOLUME, sizes, timestamp=timestamp, sector_size=sector_size)
        return filled_volume(folder / _VOLUME, size, tree, runs)


def _check_size(size: int) -> None:
    if not LEAST_XFS_SIZE <= size <= _LARGEST or size % BLOCK:
        raise InputError(
            f"invalid size for an XFS volume: {format_size(size)}",
            hint=f"use whole blocks of {BLOCK} bytes, {format_size(LEAST_XFS_SIZE)} to"
            f" {format_size(_LARGEST)}",
        )


def _check_names(tree: Tree) -> None:
    for path in (path for paths in tree.entries.values() for path in paths):
        if len(path) > _PATH_MAX or not _NAME.fullmatch(name_of(path)):
            raise ImpossibleNameError(
                f"XFS: unsupported path {path!r}",
                hint=f"use A-Z, a-z, 0-9 and _.+~@=- in names, at most {_PATH_MAX} characters"
                " in all",
            )


def _prototype(tree: Tree) -> str:
    """Return the prototype: two lines that are ignored, the root, and its contents."""
    numbers = {file.path: number for number, file in enumerate(tree.files, start=1)}
    return "\n".join(["-", "0 0", "d--755 0 0", *_entries(ROOT, tree, numbers), ""])


def _entries(folder: str, tree: Tree, numbers: Mapping[str, int]) -> Iterator[str]:
    """Yield the lines of a folder; the user id of a file is its number, for `fill_files`."""
    for path in tree.entries[folder]:
        name, number = name_of(path), numbers.get(path)
        if number is None:
            yield f"{name} d--755 0 0"
            yield from _entries(path, tree, numbers)
        elif size := tree.files[number - 1].content.size:
            yield f"{name} r--644 {number} 0 {size}"
        else:
            yield f"{name} ---644 {number} 0 {_EMPTY}"
    yield "$"


def _make(folder: Path, options: dict[str, str], timestamp: int) -> None:
    version = _version(run_tool(["mkfs.xfs", "-V"], package=_PACKAGE).decode(errors="replace"))
    for since, option, value in _LATER_OPTIONS:
        if version >= since:
            options[option] += f",{value}"
    run_tool(
        [
            *("mkfs.xfs", "-q", "-f", "-K", "-p", _TREE),
            *(word for option in options.items() for word in option),
            _VOLUME,
        ],
        package=_PACKAGE,
        cwd=folder,
        # Supported since 6.13; xfs_inodes does not depend on it.
        env={"SOURCE_DATE_EPOCH": str(timestamp), "DETERMINISTIC_SEED": "1"},
    )


def _version(said: str) -> tuple[int, int]:
    found = re.search(r"(\d+)\.(\d+)", said)
    if not found:
        raise DependencyError(
            f"cannot parse the version printed by `mkfs.xfs -V`: {said.strip()!r}"
        )
    return int(found[1]), int(found[2])


def _meaning(error: DependencyError, tree: Tree, size: int) -> Exception:
    """Return the error for a failure of mkfs.xfs, which prints error numbers in brackets."""
    if f"[{errno.ENOSPC} - {os.strerror(errno.ENOSPC)}]" not in error.message:
        return error
    needed = format_size(tree.size)
    return VolumeTooSmallError(
        f"the files, {needed}, do not fit in an XFS volume of {format_size(size)}",
        hint="make the volume larger, or the files smaller",
    )
