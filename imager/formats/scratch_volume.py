"""Volumes of 4096-byte blocks whose layout an external tool creates in a sparse scratch file.

The tool reports the blocks of each file. File contents are split accordingly and are never written
to the scratch file, from which only nonzero blocks are read.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from imager.content.extents import Content
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
            f"no sparse file of {format_size(size)} can be made in {path.parent}: {error.strerror}",
            hint="use a scratch folder on ext4, XFS, btrfs or tmpfs",
        ) from error


def start_of(runs: Sequence[BlockRun]) -> int:
    """Return the offset in bytes of a file with `runs` in the volume; 0 for an empty file."""
    return runs[0].physical * BLOCK if runs else 0


def cut(content: Content, runs: Iterable[BlockRun]) -> Iterator[tuple[int, Content]]:
    """Yield the parts of a file's content with their byte offsets in the volume."""
    for run in _joined(runs):
        start = run.logical * BLOCK
        length = min(run.count * BLOCK, content.size - start)
        yield run.physical * BLOCK, content.slice(start, length)


def _joined(runs: Iterable[BlockRun]) -> Iterator[BlockRun]:
    """Yield `runs`, merging adjacent ones: ext4 splits extents at 32768 blocks."""
    last: BlockRun | None = None
    for run in runs:
        if last and run.physical - last.physical == run.logical - last.logical == last.count:
            last = BlockRun(last.physical, last.logical, last.count + run.count)
            continue
        if last:
            yield last
        last = run
    if last:
        yield last


def nonzero_runs(path: Path) -> Iterator[tuple[int, bytes]]:
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
        for start, end in _data_regions(file.fileno()):
            file.seek(start)
            for offset in range(start, end, BLOCK):
                data = file.read(min(BLOCK, end - offset))
                if data != zeros[: len(data)]:
                    yield offset, data


def _data_regions(descriptor: int) -> Iterator[tuple[int, int]]:
    """Yield [start, end) of the regions with data, extended to whole blocks."""
    end = 0
    while True:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        start = max(start // BLOCK * BLOCK, end)
        end = -(-os.lseek(descriptor, start, os.SEEK_HOLE) // BLOCK) * BLOCK
        yield start, end
