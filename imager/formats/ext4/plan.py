"""Plan an ext4 file system: e2fsprogs lays out the metadata, file data is used in place.

The plan combines the metadata of a sparse scratch file with the contents of the files, split along
their allocated blocks. https://docs.kernel.org/filesystems/ext4/
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from imager.content.tree import Tree, VolumePlan
from imager.formats.errors import VolumeTooSmallError
from imager.formats.ext4.directories import check_names
from imager.formats.ext4.layout import VolumeOptions, estimate_size, lay_out
from imager.formats.ext4.superblock import normalize_superblocks
from imager.formats.scratch_volume import filled_volume
from imager.support.errors import InputError
from imager.support.units import MIB, format_size

_LARGEST = 16 << 40
_SCRATCH_PREFIX = "ext4-"


def plan_ext4(  # noqa: PLR0913 - a volume is named by all of these
    tree: Tree,
    *,
    size: int,
    label: str,
    uuid: UUID,
    timestamp: int,
    scratch: Path,
) -> VolumePlan:
    """Plan an ext4 volume of `size` bytes that holds `tree`, owned by root.

    File data is stored in tree order. `label` has at most 16 bytes. Every time is `timestamp`
    (seconds since 1970, not 0, before 2242); `uuid` is also the seed of the directory hash.
    `scratch` is an existing folder on a disk with sparse files; temporary files in it are removed
    at the end.

    Raises VolumeTooSmallError if the files do not fit, InputError for an invalid path or size,
    HostError if the scratch disk cannot hold a sparse file of `size` bytes, DependencyError if
    mkfs.ext4 or libext2fs is missing or fails.
    """
    _check_size(size)
    check_names(tree)
    with tempfile.TemporaryDirectory(dir=scratch, prefix=_SCRATCH_PREFIX) as folder:
        path = Path(folder, "volume")
        runs = lay_out(tree, VolumeOptions(size, label, uuid, timestamp), path)
        normalize_superblocks(path, timestamp)
        return filled_volume(path, size, tree, runs)


def minimum_ext4_size(tree: Tree, *, scratch: Path, granularity: int = MIB) -> int:
    """Return the size in bytes of the smallest volume that holds `tree`.

    The result is a multiple of `granularity`. It is determined by trial layouts: `plan_ext4`
    succeeds with the result, and raises VolumeTooSmallError with one `granularity` less. Otherwise
    raises like `plan_ext4`.
    """
    check_names(tree)

    def fits(count: int) -> bool:
        volume = VolumeOptions(count * granularity, "", UUID(int=0), 0)
        with tempfile.TemporaryDirectory(dir=scratch, prefix=_SCRATCH_PREFIX) as folder:
            try:
                lay_out(tree, volume, Path(folder, "volume"))
            except VolumeTooSmallError:
                return False
        return True

    return smallest(fits, guess=-(-estimate_size(tree) // granularity)) * granularity


def _check_size(size: int) -> None:
    if not 0 <= size <= _LARGEST:
        raise InputError(
            f"invalid size for an ext4 volume: {format_size(size)}",
            hint=f"the maximum is {format_size(_LARGEST)}",
        )


def smallest(fits: Callable[[int], bool], *, guess: int) -> int:
    """Return the smallest count that fits, if all larger ones do; fast if `guess` is close."""
    low, high, stride = 0, guess, 1
    while not fits(high):
        low, high, stride = high, high + stride, stride * 2
    stride = 1
    while high - low > 1:
        middle = max(high - stride, (low + high) // 2)
        if fits(middle):
            high, stride = middle, stride * 2
        else:
            low = middle
    return high
