"""Decode texts within values: base64 in Secrets, gzip, and stored Helm releases."""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from dataclasses import dataclass

from imager.discover.manifesttext import Origin, Text, line_of
from imager.support.yamlpaths import items_at, text_at

_LONGEST_ENCODED = 4 << 20
_LONGEST = 32 << 20
# Gzip shrinks manifests about tenfold; a ratio above a hundred is not a manifest.
_HIGHEST_RATIO = 100
_SMALL = 64 << 10
_GZIP = b"\x1f\x8b"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BASE64 = re.compile(rb"[A-Za-z0-9+/\s]{16,}(?:={1,2}\s*)?")
# Statuses of old revisions that Helm keeps for a rollback.
_PAST = frozenset({"superseded", "uninstalled", "uninstalling"})


@dataclass(frozen=True, slots=True)
class Release:
    """A revision of a Helm release: its manifests, and whether it is no longer current."""

    manifests: tuple[Text, ...]
    is_past: bool


class TooLargeError(Exception):
    """A compressed value is too large, or its compression ratio is too high."""


def decoded_text(value: object, line: int) -> Text:
    """Decode `value` from base64, then gzip and a second base64 if present; empty if not base64.

    `line` is that of the result. Raises TooLargeError.
    """
    data = _decoded(value)
    for _ in range(2):
        data = _unzipped(data)
        if not _BASE64.fullmatch(data):
            break
        data = _from_base64(data) or data
    return Text(_as_text(data), Origin(line, advances=False))


def helm_release(value: object, *, is_encoded: bool) -> Release | None:
    """Return the release in a value of a Secret (`is_encoded`) or ConfigMap; None if there is none.

    Helm 3 and 4 store gzipped JSON as base64 (pkg/storage/driver/util.go of Helm). The manifests
    have the line of `value`.
    """
    data = _decoded(value)
    try:
        document = _json(_unzipped(_from_base64(data) if is_encoded else data))
    except TooLargeError:
        return None
    manifest = text_at(document, "manifest")
    if not manifest:
        return None
    hooks = (text_at(hook, "manifest") for hook in items_at(document, "hooks"))
    origin = Origin(line_of(value), advances=False)
    manifests = tuple(Text(each, origin) for each in (manifest, *hooks) if each)
    return Release(manifests, text_at(document, "info.status") in _PAST)


def _decoded(value: object) -> bytes:
    if not isinstance(value, str) or len(value) > _LONGEST_ENCODED:
        return b""
    return _from_base64(value.encode())


def _from_base64(data: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _unzipped(data: bytes) -> bytes:
    """Decompress `data` if it is gzip, else return it unchanged; raises TooLargeError."""
    if not data.startswith(_GZIP):
        return data
    limit = min(_LONGEST, _SMALL + _HIGHEST_RATIO * len(data))
    decompressor = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        plain = decompressor.decompress(data, limit)
    except zlib.error:
        return b""
    if decompressor.unconsumed_tail:
        raise TooLargeError
    return plain


def _as_text(data: bytes) -> str:
    try:
        return data.decode("utf-16" if data.startswith(_UTF16) else "utf-8-sig")
    except UnicodeDecodeError:
        return ""


def _json(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
