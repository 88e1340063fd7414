"""Talos's META partition: small values that survive an upgrade.

A copy is 256 KiB, big-endian: magic, then entries (tag u32, length u32, value) up to a tag 0, and
at its end the SHA-256 of the copy with that field zeroed, and a second magic. The partition holds
two identical copies in a row. Outputs without a META partition pass the values to the installer in
a kernel argument.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from imager.content.extents import Content
from imager.support.fields import setting
from imager.support.units import MIB
from imager.talos.errors import InvalidMetaError

# The size of the partition in bytes.
META_SIZE = MIB
COPY_SIZE = 256 << 10
_MAGIC = bytes.fromhex("5a4b3c2d")
_END_MAGIC = bytes.fromhex("a5b4c3d2")
_TAIL_SIZE = 36
_VALUES_SIZE = COPY_SIZE - len(_MAGIC) - _TAIL_SIZE
_TAG = struct.Struct(">II")
_LARGEST_KEY = 255
_ARGUMENT = "talos.environment=INSTALLER_META_BASE64="
# Talos compresses only longer values.
_GZIP_ABOVE = 256


def meta_content(values: Mapping[int, str], *, size: int = META_SIZE) -> Content:
    """Return a META partition of `size` bytes: two copies, then zeros.

    The values are sorted by key. Raises InputError for a key outside 1..255 and for values that do
    not fit, ValueError if `size` is too small for two copies.
    """
    head = _MAGIC + _marshal(values)
    tail = Content.of_bytes(_tail(head))
    copy = Content.compose(COPY_SIZE, [(0, Content.of_bytes(head)), (COPY_SIZE - _TAIL_SIZE, tail)])
    return Content.compose(size, [(0, copy), (COPY_SIZE, copy)])


@dataclass(frozen=True, slots=True)
class MetaContents:
    """The values of a META partition by key, and what is wrong with its copies."""

    values: Mapping[int, str]
    problems: tuple[str, ...] = ()


def read_meta(partition: bytes) -> MetaContents:
    """Return the values in a META partition, from its first valid copy, as Talos does.

    `partition` are its first `2 * COPY_SIZE` bytes. A partition of zeros is empty and valid.
    """
    if not any(partition):
        return MetaContents({})
    found: list[Mapping[int, str]] = []
    problems: list[str] = []
    for number, start in enumerate((0, COPY_SIZE), start=1):
        try:
            found.append(_values(partition[start : start + COPY_SIZE]))
        except ValueError as error:
            problems.append(f"copy {number}: {error}")
    if len(found) == 2 and found[0] != found[1]:
        problems.append("the two copies differ")
    return MetaContents(found[0] if found else {}, tuple(problems))


def _values(copy: bytes) -> Mapping[int, str]:
    """Return the values of one copy; raises ValueError."""
    if not copy.startswith(_MAGIC) or not copy.endswith(_END_MAGIC) or len(copy) != COPY_SIZE:
        raise ValueError("it has no magic number")
    tail = copy[-_TAIL_SIZE:]
    if _tail(copy[:-_TAIL_SIZE]) != tail:
        raise ValueError("it does not match its checksum")
    values: dict[int, str] = {}
    at, end = len(_MAGIC), COPY_SIZE - _TAIL_SIZE
    while at + _TAG.size <= end:
        key, length = _TAG.unpack_from(copy, at)
        if not key:
            return values
        at += _TAG.size
        if at + length > end:
            raise ValueError(f"value {key:#x} is too long")
        values[key] = copy[at : at + length].decode("utf-8", "replace")
        at += length
    return values


def _marshal(values: Mapping[int, str]) -> bytes:
    parts = []
    for key, value in sorted(values.items()):
        if not 1 <= key <= _LARGEST_KEY:
            raise InvalidMetaError(f"META key {key:#x} is not in the range 0x1 to 0xff")
        data = value.encode()
        parts.append(_TAG.pack(key, len(data)) + data)
    packed = b"".join(parts)
    if len(packed) > _VALUES_SIZE:
        raise InvalidMetaError(
            f"META values take {len(packed)} bytes, but only {_VALUES_SIZE} fit",
            hint=f"shorten or remove some of {setting('customization.metaContents')}",
        )
    return packed


def _tail(head: bytes) -> bytes:
    zeroed = head.ljust(COPY_SIZE - len(_END_MAGIC), b"\0") + _END_MAGIC
    return hashlib.sha256(zeroed).digest() + _END_MAGIC


def meta_kernel_argument(values: Mapping[int, str], *, allow_gzip: bool = False) -> str:
    """Return the kernel argument that carries `values`, sorted by key.

    With `allow_gzip`, more than 256 bytes are compressed; Talos supports that since 1.6.3. Raises
    InputError for a key outside 1..255 and for a value with `;`, the separator between values.
    """
    _marshal(values)
    for key, value in values.items():
        if ";" in value:
            raise InvalidMetaError(
                f"META value {key:#x} contains ';', which a kernel argument cannot contain",
                hint="remove it, or build a disk image, which has a META partition",
            )
    raw = ";".join(f"{key:#x}={value}" for key, value in sorted(values.items())).encode()
    if allow_gzip and len(raw) > _GZIP_ABOVE:
        raw = gzip.compress(raw, mtime=0)
    return _ARGUMENT + base64.b64encode(raw).decode("ascii")
