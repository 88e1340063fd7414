"""Signatures made with a short-lived certificate of an identity, by the sigstore library.

The library checks the chain of the certificate at the time of signing, its SCT, the entry in the
transparency log, and the signature, all offline with the keys of a trusted root
(https://docs.sigstore.dev/about/security/). It does not know the log entries of cosign 2, which
have a promise of the log (SET) but no proof of inclusion; `_PromisedEntry` adds them. The library
is optional, so it is imported when it is used.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imager.oci.cosign.claims import IN_TOTO, BundleContent, check_payload
from imager.oci.cosign.evidence import (
    BundleSignature,
    NotVerifiedError,
    Signature,
    SimpleSignature,
)
from imager.oci.digest import Digest
from imager.oci.documents import load_fields
from imager.support.errors import InputError, missing_library

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from sigstore.models import Bundle
    from sigstore.verify import Verifier

_LONGEST_REASON = 160
_PACKAGE = "sigstore"
# https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md
_NAME_OID = "1.3.6.1.4.1.57264.1.7"
_NEW_ISSUER_OID = "1.3.6.1.4.1.57264.1.8"
# What the library's models require, and what the entries of cosign 2 lack.
_NO_PROOF = {
    "logIndex": "0",
    "treeSize": "1",
    "rootHash": base64.b64encode(bytes(32)).decode(),
    "hashes": [],
    "checkpoint": {"envelope": "none"},
}


@dataclass(frozen=True, slots=True)
class Identity:
    """A signer: `issuer` is the OpenID Connect provider that vouched for the subject.

    The subject must be `subject` unless that is empty, and fulfil `matches` if it is given.
    """

    issuer: str
    subject: str = ""
    matches: Callable[[str], bool] | None = None

    def verify(self, cert: Certificate) -> None:
        """Check that the certificate is of this identity; raises NotVerifiedError.

        A policy of the sigstore library (`sigstore.verify.policy.VerificationPolicy`).
        """
        from sigstore.verify.policy import OIDCIssuer, OIDCIssuerV2

        is_new = any(each.oid.dotted_string == _NEW_ISSUER_OID for each in cert.extensions)
        (OIDCIssuerV2 if is_new else OIDCIssuer)(self.issuer).verify(cert)
        subjects = list(_subjects(cert))
        if not any(map(self.is_subject, subjects)):
            raise NotVerifiedError(f"it was made by {', '.join(subjects) or 'an unnamed signer'}")

    def is_subject(self, subject: str) -> bool:
        """Whether the name `subject` in a certificate is that of this identity."""
        if self.subject and subject != self.subject:
            return False
        return self.matches(subject) if self.matches else bool(self.subject)


def _subjects(cert: Certificate) -> Iterator[str]:
    """Yield the subject's names: an e-mail address, a URI, or a name of Fulcio's own type."""
    from cryptography.x509 import (
        OtherName,
        RFC822Name,
        SubjectAlternativeName,
        UniformResourceIdentifier,
    )

    names = cert.extensions.get_extension_for_class(SubjectAlternativeName).value
    for kind in (RFC822Name, UniformResourceIdentifier):
        yield from names.get_values_for_type(kind)
    for name in names.get_values_for_type(OtherName):
        # A UTF8String in DER; its length is one byte for names of this size.
        if name.type_id.dotted_string == _NAME_OID and name.value[1] == len(name.value) - 2:
            yield name.value[2:].decode()


@dataclass(frozen=True, slots=True)
class TrustedRoot:
    """The certificate authorities, logs and timestamp authorities to trust."""

    verifier: Verifier

    @classmethod
    def parse(cls, text: str, *, where: str) -> TrustedRoot:
        """Parse a trusted root (`trusted_root.json`) of Sigstore; `where` is its name in messages.

        Raises InputError, DependencyError if the sigstore library is not installed.
        """
        try:
            from sigstore import models
            from sigstore.verify import Verifier
            from sigstore_models.trustroot.v1 import TrustedRoot as Parsed
        except ImportError as error:
            raise missing_library("a policy with keyless rules", _PACKAGE) from error
        try:
            return cls(Verifier(trusted_root=models.TrustedRoot(Parsed.from_json(text))))
        except Exception as error:
            raise InputError(
                f"{where} is not a trusted root of Sigstore: {_first_line(error)}",
                hint="`cosign trusted-root create` writes one; that of sigstore.dev is in "
                "~/.sigstore/root after `cosign initialize`",
            ) from error

    def verify(self, signature: Signature, signed: Digest, identity: Identity) -> None:
        """Check that `signature` proves that `identity` signed the image `signed`.

        Raises InputError with the reason.
        """
        if isinstance(signature, BundleSignature):
            content = BundleContent.parse(signature.raw)
            if content.has_key:
                raise NotVerifiedError("it was made with a key, and the policy names an identity")
            content.check_subject(signed)
            _verdict_of(lambda: self._verify_bundle(signature.raw, content, signed, identity))
        else:
            check_payload(signature.payload, signed)
            _verdict_of(lambda: self._verify_simple(signature, identity))

    def _verify_bundle(
        self, raw: bytes, content: BundleContent, signed: Digest, identity: Identity
    ) -> None:
        from sigstore.models import Bundle

        bundle = Bundle.from_json(raw)
        if content.statement is None:
            self.verifier.verify_artifact(_hashed(signed), bundle, identity)
            return
        if self.verifier.verify_dsse(bundle, identity) != (IN_TOTO, content.statement):
            raise NotVerifiedError("the bundle can be read in two ways")

    def _verify_simple(self, signature: SimpleSignature, identity: Identity) -> None:
        self.verifier.verify_artifact(signature.payload, _promised_bundle(signature), identity)


def _verdict_of(verify: Callable[[], None]) -> None:
    """Call `verify`; raises NotVerifiedError if it fails in any way.

    Libraries that read hostile certificates and bundles raise errors of many types, also such as
    TypeError for a key of an unexpected kind. Whatever they raise, nothing is verified.
    """
    try:
        verify()
    except NotVerifiedError:
        raise
    except Exception as error:
        raise NotVerifiedError(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    line = str(error).partition("\n")[0] or type(error).__name__
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]}..."


def _hashed(digest: Digest) -> Any:
    from sigstore.hashes import Hashed
    from sigstore_models.common.v1 import HashAlgorithm

    return Hashed(algorithm=HashAlgorithm.SHA2_256, digest=bytes.fromhex(digest.hex))


def _promised_bundle(signature: SimpleSignature) -> Bundle:
    """Return a signature of cosign 2 as the bundle that the library verifies."""
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import load_pem_x509_certificate
    from sigstore import models

    class _PromisedEntry(models.TransparencyLogEntry):
        """A log entry of which the log's promise is verified; it has no proof of inclusion."""

        def _validate(self) -> None:
            pass

        def _verify(self, keyring: Any) -> None:
            self._verify_set(keyring)

    class _PromisedBundle(models.Bundle):
        def _verify(self) -> None:
            self._signing_certificate = certificate
            self._log_entry = _PromisedEntry(self._inner.verification_material.tlog_entries[0])

    if not signature.certificate:
        raise NotVerifiedError("it has no certificate, and the policy names an identity")
    if not signature.log_entry:
        raise NotVerifiedError("it has no entry of a transparency log")
    certificate = load_pem_x509_certificate(signature.certificate.encode())
    material = {
        "certificate": {"rawBytes": _base64(certificate.public_bytes(Encoding.DER))},
        "tlogEntries": [_entry(signature.log_entry)],
    }
    return _PromisedBundle.from_json(
        json.dumps(
            {
                "mediaType": str(models.Bundle.BundleType.BUNDLE_0_3),
                "verificationMaterial": material,
                "messageSignature": {"signature": _base64(signature.signature)},
            }
        )
    )


def _entry(text: str) -> dict[str, object]:
    """Return the log entry in an annotation of cosign 2 in the form of a bundle."""
    fields = load_fields(text.encode(), where="the log entry")
    payload = fields.child("Payload")
    if payload is None:
        raise NotVerifiedError("the log entry has no payload")
    return {
        "logIndex": str(payload.size("logIndex")),
        "logId": {"keyId": _base64(bytes.fromhex(payload.text("logID")))},
        "kindVersion": {"kind": "hashedrekord", "version": "0.0.1"},
        "integratedTime": str(payload.size("integratedTime")),
        "inclusionPromise": {"signedEntryTimestamp": fields.text("SignedEntryTimestamp")},
        "inclusionProof": _NO_PROOF,
        "canonicalizedBody": payload.text("body"),
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
