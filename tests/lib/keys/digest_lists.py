"""Signature lists of digests (UEFI 2.10, 32.4.1), which this program reads but never makes."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from uuid import UUID

_SHA256 = UUID("c1c41626-504c-4092-aca9-41f936934328")


def digest_list(digests: Iterable[bytes], *, owner: UUID) -> bytes:
    """Return an EFI_SIGNATURE_LIST of SHA-256 digests."""
    entries = b"".join(owner.bytes_le + digest for digest in digests)
    return _SHA256.bytes_le + struct.pack("<III", 28 + len(entries), 0, 16 + 32) + entries
