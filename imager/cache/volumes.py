"""Read the image cache inside an ISO, disk image or USB stick image in place.

As on a machine, the partition IMAGECACHE is tried first, then the folder imagecache of an ISO or
FAT volume.
"""

from __future__ import annotations

import shlex
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from imager.cache.errors import NotAnImageCacheError
from imager.cache.paths import parse_path
from imager.content.compression import StreamReader, codec_of
from imager.content.extents import Codec
from imager.content.reading import read_start
from imager.content.tree import Tree
from imager.formats.ext4.groups import is_ext4
from imager.formats.ext4.read import open_ext4
from imager.formats.fat.geometry import is_fat
from imager.formats.fat.read import open_fat
from imager.formats.gpt.read import gpt_sector_size
from imager.formats.iso9660.read import is_iso9660, open_iso9660
from imager.formats.partitions import HEAD, find_partitions, read_mbr
from imager.support.errors import UnsupportedError
from imager.talos.constants import CACHE_FOLDER, IMAGE_CACHE

_MANIFESTS = "manifests"
_VOLUME_HEAD = 2 << 10
_XZ = b"\xfd7zXZ\0"
# Decompression programs and their suffixes; xz is not supported as a codec.
_GUNZIP, _UNZSTD, _UNXZ = ("gzip", ".gz"), ("zstd", ".zst"), ("xz", ".xz")
_DECOMPRESS = {Codec.GZIP: _GUNZIP, Codec.ZSTD: _UNZSTD}


def is_image(path: Path) -> bool:
    """Whether the file `path` is an ISO or disk image, and not a tar.

    Raises UnsupportedError for a compressed image, InputError if the file cannot be read.
    """
    head = read_start(path, HEAD)
    if head.startswith(_XZ):
        raise _compressed_with_xz(path)
    codec = codec_of(head)
    if codec is None:
        return _looks_like_image(head)
    with StreamReader(path, codec) as reader:
        if _looks_like_image(reader.read(HEAD)):
            raise _compressed(path, *_DECOMPRESS[codec])
    return False


def image_tree(path: Path) -> Tree:
    """Return the tree of the cache in the image `path`, files sorted by path.

    Raises InputError if the image is damaged or has no cache, UnsupportedError if its format is not
    supported.
    """
    for tree in _trees(path):
        if _MANIFESTS in tree.entries:
            return tree
    raise NotAnImageCacheError(
        f"{path} is an image without an image cache: it has neither a partition {IMAGE_CACHE} "
        f"with one, nor a folder {CACHE_FOLDER}",
        hint="build it with --image-cache",
    )


def _trees(path: Path) -> Iterator[Tree]:
    """Yield the trees that may be a cache, in a machine's search order."""
    head = read_start(path, HEAD)
    partitions = find_partitions(path, head)
    for part in partitions:
        if part.label == IMAGE_CACHE and is_ext4(
            read_start(path, _VOLUME_HEAD, offset=part.offset)
        ):
            yield open_ext4(path, offset=part.offset, size=part.size)
    if is_iso9660(head):
        yield open_iso9660(path, folder=CACHE_FOLDER)
    spans: list[tuple[int, int | None]] = [(part.offset, part.size) for part in partitions]
    if is_fat(head):
        spans.append((0, None))
    for offset, size in spans:
        if is_fat(read_start(path, _VOLUME_HEAD, offset=offset)):
            yield with_cache_paths(open_fat(path, offset=offset, size=size, folder=CACHE_FOLDER))
    if is_ext4(head):
        yield open_ext4(path)


def with_cache_paths(tree: Tree) -> Tree:
    """Restore the case of a cache's paths in a tree on FAT, which ignores case."""
    files = (replace(file, path=_cache_path(file.path)) for file in tree.files)
    return Tree.of(files, others=tree.others)


def _cache_path(path: str) -> str:
    """Return a path in the case that a cache uses, keeping the case of a tag if possible."""
    folder, _, name = path.rpartition("/")
    tried = (path, f"{folder.lower()}/{name}", path.lower())
    return next((each for each in tried if parse_path(each)), path)


def _looks_like_image(head: bytes) -> bool:
    """Whether a file that begins with `head` is an image, and not a tar that contains images."""
    if _is_tar(head):
        return False
    has_gpt = gpt_sector_size(head) is not None
    return has_gpt or is_iso9660(head) or is_ext4(head) or is_fat(head) or bool(read_mbr(head))


def _is_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def _compressed(path: Path, program: str, suffix: str) -> UnsupportedError:
    name = shlex.quote(str(path))
    command = f"{program} -d {name}"
    if path.suffix != suffix:
        command = f"{program} -dc {name} > {shlex.quote(f'{path}.img')}"
    return UnsupportedError(
        f"{path} is a compressed image: the image cache in it cannot be read",
        hint=f"decompress it first: {command}",
    )


def _compressed_with_xz(path: Path) -> UnsupportedError:
    """Return the error for an xz-compressed file: a tar or an image, depending on its name."""
    name = path.name.lower()
    if not name.endswith((".tar.xz", ".txz")):
        return _compressed(path, *_UNXZ)
    tar = path.parent / (path.name[: name.rindex(".t")] + ".tar")
    return UnsupportedError(
        f"{path} is a tar compressed with xz, which is not supported",
        hint=f"decompress it first: xz -dc {shlex.quote(str(path))} > {shlex.quote(str(tar))}",
    )
