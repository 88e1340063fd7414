"""Volumes of 4096-byte blocks whose layout an external tool creates in a sparse scratch file.

The tool reports the blocks of each file. File contents are split accordingly and are never written
to the scratch file, from which only nonzero blocks are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from imager.content.extents import Content
from imager.content.ranges import data_blocks
from imager.content.tree import PlacedFile, Tree, VolumePlan
from imager.support.errors import HostError
from imager.support.units import format_size

BLOCK = 4096


@dataclass(frozen=True, slots=True)
class BlockRun:
    """`count` blocks of a file, from its block `logical`, stored at block `physical`."""

    physical: int
    logical: int
    count: int


def make_sparse(path: Path, size: int) -> None:
    """Create the empty sparse file `path` of `size` bytes; raises HostError if that fails."""
    try:
        with path.open("wb") as file:
            file.truncate(size)
    except OSError as error:
        raise HostError(
            f"cannot create a sparse file of {format_size(size)} in {path.parent}:"
            f" {error.strerror}",
            hint="use a scratch folder on ext4, XFS, btrfs or tmpfs",
        ) from error


def filled_volume(
    path: Path, size: int, tree: Tree, runs: Iterable[Sequence[BlockRun]]
) -> VolumePlan:
    """Return the volume of `size` bytes laid out in `path`, with the files of `tree` in place.

    `runs` are those of each file, in tree order; none for an empty file.
    """
    placed = [(offset, Content.of_bytes(data)) for offset, data in _nonzero_runs(path)]
    places = []
    for file, taken in zip(tree.files, runs, strict=True):
        placed.extend(_cut(file.content, taken))
        start = taken[0].physical * BLOCK if taken else 0
        places.append(PlacedFile(file.path, start, file.content.size))
    return VolumePlan(Content.compose(size, placed), tuple(places))


def _cut(content: Content, runs: Iterable[BlockRun]) -> Iterator[tuple[int, Content]]:
    """Yield the parts of a file's content with their byte offsets in the volume."""
    for run in runs:
        start = run.logical * BLOCK
        length = min(run.count * BLOCK, content.size - start)
        yield run.physical * BLOCK, content.slice(start, length)


def _nonzero_runs(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, data) of the nonzero runs of blocks in a sparse file.

    The result does not depend on the location of holes on the scratch disk.
    """
    blocks = enumerate(_nonzero_blocks(path))
    for _, group in groupby(blocks, key=lambda item: item[1][0] // BLOCK - item[0]):
        run = [block for _, block in group]
        yield run[0][0], b"".join(data for _, data in run)


def _nonzero_blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    zeros = bytes(BLOCK)
    with path.open("rb") as file:
        for blocks in data_blocks(Content.of_file(path), BLOCK):
            file.seek(blocks.start * BLOCK)
            for number in blocks:
                data = file.read(BLOCK)
                if data != zeros[: len(data)]:
                    yield number * BLOCK, data
