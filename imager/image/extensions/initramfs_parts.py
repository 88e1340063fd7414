"""Read an initramfs of the boot assets: its archives, decompressed to temporary files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imager.bootassets.errors import BootAssetError
from imager.content.random_access import ContentReader, file_content
from imager.content.streams import decompress, stream_of
from imager.content.tree import Tree
from imager.formats.initramfs import Archive, cpio_trees, find_archives
from imager.support.errors import InputError, UnsupportedError

_LARGEST = 8 << 30


def initramfs_trees(path: Path, scratch: Path) -> Iterator[Tree]:
    """Yield the tree of each archive in an initramfs.

    Its files are ranges of `path`, or of files that are made in the folder `scratch`. Raises
    BootAssetError or DamagedVolumeError.
    """
    content = file_content(path)
    for archive in _archives(path):
        packed = content.slice(archive.start, archive.end - archive.start)
        if archive.codec is not None:
            stream = stream_of(packed, archive.codec, scratch=scratch)
            plain = decompress(stream, scratch / f"archive{archive.start}", most=_LARGEST)
            if plain.problem:
                raise _damaged(path, f"in the part at byte {archive.start}: {plain.problem}")
            packed = plain.content
        yield from cpio_trees(packed, name=str(path))


def _archives(path: Path) -> Iterator[Archive]:
    try:
        with ContentReader(file_content(path)) as reader:
            found = list(find_archives(reader))
    except UnsupportedError as error:
        raise _unknown(path, 0) from error
    except InputError as error:
        raise _damaged(path, error.message) from error
    for archive in found:
        if archive.other:
            raise _unknown(path, archive.start)
        yield archive


def _unknown(path: Path, position: int) -> BootAssetError:
    return BootAssetError(
        f"{path}: at byte {position} there is neither a cpio archive nor a compression that this"
        " program knows",
        hint="the initramfs must be compressed by xz, gzip or zstd, as Talos's is",
    )


def _damaged(path: Path, problem: str) -> BootAssetError:
    return BootAssetError(
        f"{path} is damaged: {problem}", hint="run `imager assets fetch`, or copy it again"
    )
