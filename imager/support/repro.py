"""Sources of reproducible values: one timestamp and derived ids.

The timestamp is SOURCE_DATE_EPOCH (https://reproducible-builds.org/specs/source-date-epoch/),
otherwise a fixed one, never the clock. Ids are UUIDs of version 8 (RFC 9562, section 5.8) derived
with SHA-256, as Talos does for its partitions.
"""

from __future__ import annotations

import hashlib
import os
import uuid

from imager.support.errors import InputError

# 2024-01-01T00:00:00Z: after 1980, as FAT requires, and before any build.
DEFAULT_EPOCH = 1_704_067_200
# FAT dates end in 2107, ISO 9660 directory dates in 2155.
_LATEST_EPOCH = 4_354_819_198
_EARLIEST_EPOCH = 315_532_800


def source_date_epoch(default: int = DEFAULT_EPOCH) -> int:
    """Return the timestamp of this build in seconds since 1970, UTC; `default` if it is not set.

    It is clamped to 1980..2107, the range of FAT. Raises InputError if SOURCE_DATE_EPOCH is set
    but not a whole number of seconds.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit():
        raise InputError(
            f"SOURCE_DATE_EPOCH={text!r} is not a number of seconds since 1970",
            hint="set it, for example to $(git log -1 --format=%ct), or unset it",
        )
    return min(max(int(text), _EARLIEST_EPOCH), _LATEST_EPOCH)


def derived_uuid(label: str) -> uuid.UUID:
    """Return the UUID derived from `label`: version 8 of SHA-256(16 zero bytes + label)."""
    raw = bytearray(hashlib.sha256(bytes(16) + label.encode()).digest()[:16])
    raw[6] = raw[6] & 0x0F | 0x80
    raw[8] = raw[8] & 0x3F | 0x80
    return uuid.UUID(bytes=bytes(raw))
