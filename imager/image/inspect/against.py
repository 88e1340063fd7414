"""Read the SHA-256 that a file must have out of a checksum file or a provenance.

The formats of sha256sum(1); and statements of in-toto (in-toto attestation,
spec/v1/statement.md), alone or in an envelope (DSSE) or a bundle of sigstore. Signatures are not
checked here.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imager.support.errors import InputError
from imager.support.sums import name_and_sum

_LARGEST = 64 << 20
_STATEMENT = "https://in-toto.io/Statement/"


def expected_digest(file: Path, name: str) -> str:
    """Return the SHA-256 (hex) that `file` has for `name`, a file name without folders.

    Raises InputError if it is neither a checksum file nor a statement, or does not name it.
    """
    try:
        raw = file.read_bytes() if file.stat().st_size <= _LARGEST else b""
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    text = raw.decode("utf-8", "replace")
    known = list(_subjects(text) if text.lstrip().startswith("{") else _sums(text))
    if not known:
        raise InputError(
            f"{file} has no SHA-256 checksums",
            hint="give a file of sha256sum, or a statement of in-toto such as NAME.intoto.json",
        )
    found = {digest for subject, digest in known if subject.rpartition("/")[2] == name}
    if len(found) != 1:
        what = "does not name" if not found else "has several checksums for"
        there = ", ".join(sorted({subject for subject, _ in known})[:5])
        raise InputError(f"{file} {what} {name}", hint=f"it names {there}")
    return found.pop()


def _sums(text: str) -> Iterator[tuple[str, str]]:
    yield from filter(None, map(name_and_sum, text.splitlines()))


def _subjects(text: str) -> Iterator[tuple[str, str]]:
    """Yield name and digest of each subject; one statement a line is possible, too (JSONL)."""
    try:
        documents = [json.loads(text)]
    except ValueError:
        try:
            documents = [json.loads(line) for line in text.splitlines() if line.strip()]
        except (ValueError, RecursionError):
            return
    except RecursionError:
        return
    for document in documents:
        statement = _statement(document)
        if not str(statement.get("_type", "")).startswith(_STATEMENT):
            continue
        subjects = statement.get("subject")
        for subject in subjects if isinstance(subjects, list) else ():
            digest = subject.get("digest") if isinstance(subject, dict) else None
            found = digest.get("sha256") if isinstance(digest, dict) else None
            if isinstance(found, str) and re.fullmatch("[0-9a-fA-F]{64}", found):
                yield str(subject.get("name", "")), found.lower()


def _statement(document: Any) -> dict[str, Any]:
    """Return the statement that a document is, or has as its payload; empty if it has none."""
    found = document if isinstance(document, dict) else {}
    inner = found.get("dsseEnvelope", found)
    payload = inner.get("payload") if isinstance(inner, dict) else None
    if not isinstance(payload, str):
        return found
    try:
        decoded = json.loads(base64.b64decode(payload, validate=True))
    except (ValueError, binascii.Error, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}
