"""Recognise common files that are not image caches, to print helpful hints."""

from __future__ import annotations

from pathlib import Path

from imager.cache.errors import NotAnImageCacheError
from imager.cache.opened import HINT
from imager.content.compression import StreamReader, codec_of
from imager.content.reading import read_start
from imager.support.errors import InputError

_HEAD = 4096
_CONVERT = "convert it first: `qemu-img convert -O raw {path} {path}.raw`"
# The first bytes of a file, its kind, and a hint.
_KINDS = (
    (b"QFI\xfb", "a disk image in qcow2", _CONVERT),
    (b"KDMV", "a disk image in VMDK", _CONVERT),
    (b"BZh", "compressed with bzip2", "decompress it first: `bunzip2 {path}`"),
    (b"PK\x03\x04", "a zip archive", "unpack it first: `unzip {path}`"),
    (b"hsqs", "a squashfs file system", HINT),
    (b"MZ", "a program for UEFI", HINT),
)
_LIST_HINT = (
    "to make a cache of a list of images, run `imager images cache-create --images {path} "
    "--image-cache-path ./image-cache.oci`"
)


def not_a_cache(path: Path) -> InputError:
    """Return the error for the file `path`, which is neither a tar nor an ISO or disk image.

    Raises InputError if it cannot be read, or is compressed and damaged.
    """
    head = read_start(path, _HEAD)
    codec = codec_of(head)
    if codec is None:
        what, hint = _described(head)
    else:
        with StreamReader(path, codec) as reader:
            what, hint = _described(reader.read(_HEAD))
        what += f", compressed with {codec.value}"
    return NotAnImageCacheError(
        f"{path} is not an image cache: it is {what}", hint=hint.format(path=path)
    )


def _described(head: bytes) -> tuple[str, str]:
    """Return the kind of a file that begins with `head`, and a hint."""
    if not head:
        return "empty", HINT
    for magic, what, hint in _KINDS:
        if head.startswith(magic):
            return what, hint
    if _is_text(head):
        return "a text file", _LIST_HINT
    return "neither a tar nor an ISO or disk image", HINT


def _is_text(head: bytes) -> bool:
    """Whether `head` is printable UTF-8; its last character may be truncated."""
    text = head.decode("utf-8", "ignore").removeprefix("\ufeff")
    whole = len(text.encode()) >= len(head) - 6
    return whole and all(char.isprintable() or char in "\t\r\n\f" for char in text)
