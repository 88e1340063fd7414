"""Sign by a key in a token: smart cards, YubiKeys and hardware security modules (PKCS #11).

A key is named by a URI (RFC 7512): `pkcs11:token=NAME;object=KEY?module-path=/usr/lib/LIBRARY.so`.
The PIN is in the environment variable IMAGER_PKCS11_PIN, or in a file that `pin-source` names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from imager.efi.certificates import read_limited
from imager.efi.errors import InvalidKeyError, SignerFailedError
from imager.efi.remote import (
    RemoteKey,
    RemoteSigner,
    remote_key,
    remote_signer,
    rsa_public_key,
    same_key,
)
from imager.support.errors import missing_library

SCHEME = "pkcs11:"
PIN_VARIABLE = "IMAGER_PKCS11_PIN"
_EXAMPLE = "write it as pkcs11:token=NAME;object=KEY?module-path=/usr/lib/LIBRARY.so"
_KNOWN = ("token", "object", "id", "serial", "module-path", "pin-source")
# DER of DigestInfo for SHA-256, up to the digest itself (RFC 8017, 9.2, note 1).
_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


def pkcs11_key(uri: str) -> RemoteKey:
    """Return the key that `uri` names.

    Raises InvalidKeyError for a URI that names no key, SignerFailedError if the token fails,
    DependencyError without the library, and as `remote_key`.
    """
    place = _Place.parse(uri)
    return remote_key(place.name, place.public_key(), place.sign)


def pkcs11_signer(uri: str, certificate: Path) -> RemoteSigner:
    """Return the key that `uri` names with the certificate in a file; raises as `pkcs11_key`."""
    place = _Place.parse(uri)
    data, _ = read_limited(certificate, what="certificate")
    signer = remote_signer(place.name, data, place.sign)
    return same_key(signer, remote_key(place.name, place.public_key(), place.sign))


@dataclass(frozen=True, slots=True)
class _Place:
    """A key in a token: its name for messages, the library, the token and the key."""

    name: str
    module: str
    token: Mapping[str, str]
    label: str
    identifier: bytes
    pin: str | None

    @classmethod
    def parse(cls, uri: str) -> _Place:
        path, _, query = uri.removeprefix(SCHEME).partition("?")
        given = dict(
            part.partition("=")[::2] for part in [*path.split(";"), *query.split("&")] if part
        )
        if unknown := [key for key in given if key not in _KNOWN]:
            raise InvalidKeyError(f"{uri}: {unknown[0]} is not known in a key's URI", hint=_EXAMPLE)
        fields = {key: unquote(value) for key, value in given.items()}
        if "module-path" not in fields or not {"object", "id"} & fields.keys():
            raise InvalidKeyError(f"{uri} does not name a library and a key", hint=_EXAMPLE)
        token = {
            f"token_{key}": fields[name]
            for name, key in (("token", "label"), ("serial", "serial"))
            if name in fields
        }
        identifier = unquote(given.get("id", ""), "latin-1").encode("latin-1")
        return cls(
            f"{SCHEME}{path}",
            fields["module-path"],
            token,
            fields.get("object", ""),
            identifier,
            _pin(fields.get("pin-source", "")),
        )

    def public_key(self) -> bytes:
        """Return the public key as SubjectPublicKeyInfo in DER."""
        from pkcs11 import Attribute

        def read(key: Any) -> bytes:
            return rsa_public_key(key[Attribute.MODULUS], key[Attribute.PUBLIC_EXPONENT])

        return self._with_key(read)

    def sign(self, digest: bytes) -> bytes:
        """Return the signature of a SHA-256 digest."""
        from pkcs11 import Mechanism

        data = _DIGEST_INFO + digest
        return self._with_key(lambda key: bytes(key.sign(data, mechanism=Mechanism.RSA_PKCS)))

    def _with_key(self, use: Callable[[Any], bytes]) -> bytes:
        try:
            import pkcs11
        except ImportError as error:
            raise missing_library(self.name, "python-pkcs11") from error
        try:
            token = pkcs11.lib(self.module).get_token(**self.token)
            with token.open(user_pin=self.pin) as session:
                key = session.get_key(
                    pkcs11.ObjectClass.PRIVATE_KEY,
                    label=self.label or None,
                    id=self.identifier or None,
                )
                return use(key)
        except (pkcs11.PKCS11Error, RuntimeError) as error:
            reason = str(error) or type(error).__name__
            hint = "" if self.pin else f"set the environment variable {PIN_VARIABLE} to its PIN"
            raise SignerFailedError(f"{self.name}: {reason}", hint=hint) from error


def _pin(source: str) -> str | None:
    if not source:
        return os.environ.get(PIN_VARIABLE)
    data, _ = read_limited(Path(source.removeprefix("file:")), what="PIN")
    return data.decode("utf-8", "replace").strip()
