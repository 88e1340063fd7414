"""Describe the data of an image, so that tools write only that to a disk and check it.

bmap 2.0, as `bmaptool copy` reads it: https://github.com/yoctoproject/bmaptool, the comment at the
top of bmaptool/BmapCreate.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from imager.content.extents import Content
from imager.content.ranges import data_blocks
from imager.content.reading import iterate_content, zeros
from imager.support.units import align_up
from imager.support.workers import Cancel

BLOCK = 4096
_NO_CHECKSUM = "0" * 64


def bmap(content: Content) -> bytes:
    """Return the bmap of `content`: its blocks of 4096 bytes with data, and their SHA-256.

    Reads the content once. Raises InputError when a source is shorter than planned.
    """
    return _bmap(content, iterate_content(content))


def bmap_and_sha256(content: Content, cancel: Cancel) -> tuple[bytes, str]:
    """Return the bmap of `content`, and the SHA-256 (hex) of all of it, in one read.

    Both hashes of a piece are computed at the same time. Raises as `bmap`, and CancelledError once
    `cancel` is set.
    """
    whole = hashlib.sha256()

    def add(piece: bytes | int) -> None:
        for data in zeros(piece) if isinstance(piece, int) else (piece,):
            cancel.check()
            whole.update(data)

    def pieces(pool: ThreadPoolExecutor) -> Iterator[bytes | int]:
        for piece in iterate_content(content):
            added = pool.submit(add, piece)
            yield piece
            added.result()

    with ThreadPoolExecutor(1, "sha256") as pool:
        described = _bmap(content, pieces(pool))
    return described, whole.hexdigest()


def _bmap(content: Content, pieces: Iterable[bytes | int]) -> bytes:
    blocks = data_blocks(content, BLOCK)
    spans = [range(each.start * BLOCK, min(each.stop * BLOCK, content.size)) for each in blocks]
    checksums = [*_checksums(pieces, spans)]
    lines = [
        '<?xml version="1.0" ?>',
        '<bmap version="2.0">',
        f"    <ImageSize> {content.size} </ImageSize>",
        f"    <BlockSize> {BLOCK} </BlockSize>",
        f"    <BlocksCount> {align_up(content.size, BLOCK) // BLOCK} </BlocksCount>",
        f"    <MappedBlocksCount> {sum(map(len, blocks))} </MappedBlocksCount>",
        "    <ChecksumType> sha256 </ChecksumType>",
        f"    <BmapFileChecksum> {_NO_CHECKSUM} </BmapFileChecksum>",
        "    <BlockMap>",
        *(
            f'        <Range chksum="{checksum}"> {each.start}-{each.stop - 1} </Range>'
            for each, checksum in zip(blocks, checksums, strict=True)
        ),
        "    </BlockMap>",
        "</bmap>",
        "",
    ]
    text = "\n".join(lines).encode()
    # The file's own checksum is computed with zeros in its place.
    return text.replace(_NO_CHECKSUM.encode(), hashlib.sha256(text).hexdigest().encode(), 1)


def _checksums(pieces: Iterable[bytes | int], spans: Sequence[range]) -> Iterator[str]:
    """Yield the SHA-256 of each of the byte ranges `spans`, which are sorted; reads all pieces."""
    digest, position = hashlib.sha256(), 0
    waiting = iter(spans)
    span = next(waiting, None)
    for piece in pieces:
        end = position + (piece if isinstance(piece, int) else len(piece))
        while span and span.start < end:
            first, last = max(span.start, position), min(span.stop, end)
            if isinstance(piece, int):
                for block in zeros(last - first):
                    digest.update(block)
            else:
                digest.update(memoryview(piece)[first - position : last - position])
            if span.stop > end:
                break
            yield digest.hexdigest()
            digest, span = hashlib.sha256(), next(waiting, None)
        position = end
