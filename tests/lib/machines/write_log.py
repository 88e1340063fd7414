"""What a machine wrote to its disk, as QEMU's blklogwrites records it, and the disk after a cut.

The log has the format of Linux's dm-log-writes: a superblock, then entries of a sector each with
their data behind them (https://docs.kernel.org/admin-guide/device-mapper/log-writes.html).
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_SUPER = struct.Struct("<QQQI")
_ENTRY = struct.Struct("<QQQQ")
_MAGIC = 0x6A736677736872
_FLUSH, _DISCARD, _MARK = 1, 4, 8


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes that were written at byte `offset`: `size` of them, at byte `place` of the log."""

    offset: int
    size: int
    place: int


@dataclass(frozen=True, slots=True)
class WriteLog:
    """The writes between flushes: all of `epochs[n]` were on the disk before `epochs[n + 1]`."""

    path: Path
    epochs: tuple[tuple[Write, ...], ...]

    @classmethod
    def read(cls, path: Path) -> WriteLog:
        """Return the log in the file `path`."""
        with path.open("rb") as file:
            return cls(path, tuple(_epochs(file)))

    def replay(self, disk: Path, epochs: int, *, seed: int) -> None:
        """Write to `disk` what is there after a cut in epoch number `epochs`, from 0.

        Of the writes in that epoch, which no flush has followed, some are there. Behind the last
        epoch all are.
        """
        chance = random.Random(seed)
        rest = self.epochs[epochs] if epochs < len(self.epochs) else ()
        some = [each for each in rest if chance.random() < 1 / 2]
        with self.path.open("rb") as log, disk.open("r+b") as target:
            for epoch in (*self.epochs[:epochs], some):
                for write in epoch:
                    log.seek(write.place)
                    target.seek(write.offset)
                    target.write(log.read(write.size))


def _epochs(file: BinaryIO) -> Iterator[tuple[Write, ...]]:
    magic, version, count, sector = _SUPER.unpack(file.read(_SUPER.size))
    assert (magic, version) == (_MAGIC, 1)
    assert count
    position = sector
    epoch: list[Write] = []
    for _ in range(count):
        file.seek(position)
        start, length, flags, _ = _ENTRY.unpack(file.read(_ENTRY.size))
        position += sector
        if flags & _FLUSH:
            yield tuple(epoch)
            epoch = []
        if length and not flags & (_DISCARD | _MARK):
            epoch.append(Write(start * sector, length * sector, position))
            position += length * sector
    yield tuple(epoch)
