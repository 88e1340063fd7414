"""Read the SHA-256 that a file must have out of a checksum file or a provenance.

The formats of sha256sum(1); and statements of in-toto (in-toto attestation,
spec/v1/statement.md), alone or in an envelope (DSSE) or a bundle of sigstore; and bundles with the
signature of a file.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imager.oci.cosign.claims import BUNDLE_TYPE, BundleContent
from imager.oci.cosign.evidence import BundleSignature, NotVerifiedError
from imager.oci.cosign.keys import SigningKey
from imager.oci.digest import Digest
from imager.support.errors import InputError
from imager.support.sums import name_and_sum

_LARGEST = 64 << 20
_LARGEST_KEY = 1 << 20
_HEX = re.compile("[0-9a-fA-F]{64}", re.ASCII)
_MESSAGE = "messageSignature"
_STATEMENT = "https://in-toto.io/Statement/"


def is_lock(file: Path) -> bool:
    """Return whether a file is a lock of imager, to judge by its fields.

    Raises InputError if it cannot be read.
    """
    text = _text(file)
    return any("lock" in each and "inputs" in each for each in _documents(text))


def expected_digest(file: Path, name: str, key: Path | None = None) -> str:
    """Return the SHA-256 (hex) that `file` has for `name`, a file name without folders.

    With a public `key` in PEM, `file` must be signed with it. Raises InputError if it is not, does
    not name it, or is neither a checksum file nor a statement.
    """
    text = _text(file)
    documents = list(_documents(text))
    known = list(_subjects(documents, name) if documents else _sums(text))
    if not known:
        raise InputError(
            f"{file} has no SHA-256 checksums",
            hint="give a file of sha256sum, a lock, or a statement of in-toto such as "
            "NAME.intoto.json",
        )
    found = {digest for subject, digest in known if subject.rpartition("/")[2] == name}
    if len(found) != 1:
        what = "does not name" if not found else "has several checksums for"
        there = ", ".join(sorted({subject for subject, _ in known})[:5])
        raise InputError(f"{file} {what} {name}", hint=f"it names {there}")
    digest = found.pop()
    if key is not None:
        _check_signed(file, documents, Digest(digest), key)
    return digest


def _check_signed(file: Path, documents: list[dict[str, Any]], digest: Digest, key: Path) -> None:
    """Raise InputError unless one of `documents` is signed with `key` and names `digest`."""
    bundles = [each for each in map(_bundle, documents) if each is not None]
    if not bundles:
        raise InputError(
            f"{file} is not signed: it has neither an envelope nor a bundle",
            hint="give the bundle of the statement, such as NAME.provenance.json.sigstore.json",
        )
    try:
        public = SigningKey.parse(_read(key, _LARGEST_KEY).decode("utf-8", "replace"))
    except InputError as error:
        raise InputError(f"{key} {error.message}") from error
    reasons = []
    for bundle in bundles:
        try:
            public.verify(BundleSignature(json.dumps(bundle).encode()), digest)
        except InputError as error:
            reasons.append(error.message)
        else:
            return
    raise NotVerifiedError(f"{file}: its signature is not valid: {reasons[0]}")


def _bundle(document: dict[str, Any]) -> dict[str, Any] | None:
    """Return a document as a bundle; an envelope alone becomes one. None if it is not signed."""
    if "dsseEnvelope" in document or _MESSAGE in document:
        return document
    if "payload" in document and "signatures" in document:
        material: dict[str, object] = {"publicKey": {}}
        return {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": material,
            "dsseEnvelope": document,
        }
    return None


def _text(file: Path) -> str:
    return _read(file, _LARGEST).decode("utf-8", "replace")


def _read(file: Path, limit: int) -> bytes:
    try:
        return file.read_bytes() if file.stat().st_size <= limit else b""
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error


def _sums(text: str) -> Iterator[tuple[str, str]]:
    yield from filter(None, map(name_and_sum, text.splitlines()))


def _documents(text: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a text in JSON: one, or one a line (JSONL); nothing of another text."""
    if not text.lstrip().startswith("{"):
        return
    try:
        found = [json.loads(text)]
    except ValueError:
        try:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
        except (ValueError, RecursionError):
            return
    except RecursionError:
        return
    yield from (each for each in found if isinstance(each, dict))


def _subjects(documents: list[dict[str, Any]], name: str) -> Iterator[tuple[str, str]]:
    """Yield name and digest of each subject of statements; a signed file is called `name`."""
    for document in documents:
        if _MESSAGE in document:
            yield from _signed_file(document, name)
        statement = _statement(document)
        if not str(statement.get("_type", "")).startswith(_STATEMENT):
            continue
        subjects = statement.get("subject")
        for subject in subjects if isinstance(subjects, list) else ():
            digest = subject.get("digest") if isinstance(subject, dict) else None
            found = digest.get("sha256") if isinstance(digest, dict) else None
            if isinstance(found, str) and _HEX.fullmatch(found):
                yield str(subject.get("name", "")), found.lower()


def _signed_file(document: dict[str, Any], name: str) -> Iterator[tuple[str, str]]:
    try:
        digest = BundleContent.parse(json.dumps(document).encode()).message_digest.hex()
    except InputError:
        return
    if _HEX.fullmatch(digest):
        yield name, digest


def _statement(found: dict[str, Any]) -> dict[str, Any]:
    """Return the statement that a document is, or has as its payload; empty if it has none."""
    inner = found.get("dsseEnvelope", found)
    payload = inner.get("payload") if isinstance(inner, dict) else None
    if not isinstance(payload, str):
        return found
    try:
        decoded = json.loads(base64.b64decode(payload, validate=True))
    except (ValueError, binascii.Error, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}
