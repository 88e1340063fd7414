"""An oracle for planned FAT32 volumes: pyfatfs reads them, and this checks what it trusts.

The checks are those of a file system checker: a cluster belongs to one chain and each chain to a
file, chains are as long as their files, the copies of tables agree, the free count is right.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from imager.content.extents import Content, FileRange
from imager.content.tree import File
from imager.support.errors import OutputError

_SECTOR = 512
_FIRST_CLUSTER = 2


class _DamagedError(Exception):
    """A volume that breaks its own rules."""


def read_fat(path: Path, *, offset: int, size: int) -> tuple[File, ...]:
    """Return the files of the FAT32 volume of `size` bytes at byte `offset` of the file `path`.

    They are sorted by path, and their contents are ranges of the file `path`. Raises OutputError
    when the volume is damaged, is not FAT32 or not of this size.
    """
    from pyfatfs.PyFat import PyFat, PyFATException

    broken = (PyFATException, _DamagedError, Warning, LookupError, ValueError, struct.error)
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            # What pyfatfs warns of (tables that differ, a bad long name) is damage here.
            warnings.simplefilter("error")
            _check_boot_sector(file, offset=offset, size=size)
            volume = PyFat(offset=offset)
            volume.get_cluster_chain = _without_loops(volume.get_cluster_chain)
            volume.set_fp(file)
            reader = _Reader(volume, path=path, offset=offset)
            files = sorted(reader.files(), key=lambda file: file.path)
            reader.check_allocation(file)
            return tuple(files)
    except broken as error:
        raise OutputError(
            f"{path}: the FAT32 file system at byte {offset} is damaged: {error}"
        ) from error


def _check_boot_sector(file: BinaryIO, *, offset: int, size: int) -> None:
    """Check the sizes that pyfatfs would take on trust, and the copy of the sector."""
    from pyfatfs.BootSectorHeader import FAT32BootSectorHeader

    file.seek(offset)
    sector = file.read(_SECTOR)
    header: Any = FAT32BootSectorHeader()
    header.parse_header(sector)
    sector_size = header["BPB_BytsPerSec"]
    if header["BPB_TotSec32"] * sector_size != size:
        raise _DamagedError(f"its size is not {size} bytes")
    if header["BPB_NumFATs"] != 2 or 2 * header["BPB_FATSz32"] * sector_size >= size:
        raise _DamagedError("its allocation tables do not fit")
    if header["BPB_FATSz16"] or not header["BPB_SecPerClus"]:
        raise _DamagedError("it is not FAT32")
    file.seek(offset + header["BPB_BkBootSec"] * sector_size)
    if file.read(_SECTOR) != sector:
        raise _DamagedError("the boot sector and its copy differ")


def _without_loops(
    chain_of: Callable[[int], Iterator[int]],
) -> Callable[[int], Iterator[int]]:
    """Return `chain_of`, raising where a chain comes back to itself: pyfatfs would go on."""

    def checked(first: int) -> Iterator[int]:
        seen: set[int] = set()
        for cluster in chain_of(first):
            if cluster in seen:
                raise _DamagedError(f"the chain of cluster {first} is a loop")
            seen.add(cluster)
            yield cluster

    return checked


class _Reader:
    """One pass over an opened volume that remembers which clusters it met."""

    def __init__(self, volume: Any, *, path: Path, offset: int) -> None:
        header = volume.bpb_header
        sectors = header["BPB_TotSec32"] - volume.first_data_sector
        self._volume = volume
        self._path = path
        self._offset = offset
        self._cluster_size: int = volume.bytes_per_cluster
        self._end: int = sectors // header["BPB_SecPerClus"] + _FIRST_CLUSTER
        self._used: set[int] = set()

    def files(self) -> Iterator[File]:
        """Yield every file, in no order; raises _DamagedError."""
        root = self._volume.root_dir
        self._claim(root.get_cluster())
        pending = [("", root)]
        while pending:
            above, folder = pending.pop()
            folders, files, _ = folder.get_entries()
            for entry in folders:
                self._claim(entry.get_cluster())
                pending.append((f"{above}{_name(entry)}/", entry))
            for entry in files:
                path = above + _name(entry)
                yield File(
                    path, self._content(entry, path), 0o444 if entry.is_read_only() else 0o644
                )

    def check_allocation(self, file: BinaryIO) -> None:
        """Check, after all files, that no other cluster is taken and the free count agrees."""
        from pyfatfs.FSInfo import FSInfo

        table = self._volume.fat[_FIRST_CLUSTER : self._end]
        free = table.count(0)
        if len(table) != self._end - _FIRST_CLUSTER:
            raise _DamagedError("its allocation tables are too short")
        if len(table) - free != len(self._used):
            raise _DamagedError("clusters are taken that belong to no file")
        header, info = self._volume.bpb_header, FSInfo()
        file.seek(self._offset + header["BPB_FSInfo"] * header["BPB_BytsPerSec"])
        info.parse_header(file.read(_SECTOR))
        if info["FSI_Free_Count"] != free:
            raise _DamagedError(f"{free} clusters are free, not {info['FSI_Free_Count']}")

    def _claim(self, first: int) -> list[int]:
        chain = list(self._volume.get_cluster_chain(first))
        if not chain or min(chain) < _FIRST_CLUSTER or max(chain) >= self._end:
            raise _DamagedError(f"the chain of cluster {first} leaves the volume")
        if not self._used.isdisjoint(chain):
            raise _DamagedError(f"the chain of cluster {first} crosses another")
        self._used.update(chain)
        return chain

    def _content(self, entry: Any, path: str) -> Content:
        size: int = entry.filesize
        first = entry.get_cluster()
        chain = self._claim(first) if first else []
        if len(chain) != -(-size // self._cluster_size):
            raise _DamagedError(f"{path}: {len(chain)} clusters do not fit its {size} bytes")
        return Content.concat(self._runs(chain)).slice(0, size)

    def _runs(self, chain: list[int]) -> Iterator[Content]:
        start = 0
        for at in range(1, len(chain) + 1):
            if at == len(chain) or chain[at] != chain[at - 1] + 1:
                offset = self._offset + self._volume.get_data_cluster_address(chain[start])
                size = (at - start) * self._cluster_size
                yield Content.of_source(FileRange(self._path, offset), size)
                start = at


def _name(entry: Any) -> str:
    name = str(entry)
    if "/" in name or "\0" in name:
        raise _DamagedError(f"the name {name!a} is not possible")
    return name
