"""Images with good and tampered signatures, each in a repository of its own.

All bytes are the same in every run, so that the verdicts of the real cosign can be recorded: see
tests/lib/tools/cosign.py.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tests.lib.caches.caches import (
    CONFIG_TYPE,
    MANIFEST_TYPE,
    descriptor,
    dump,
    image_manifest,
    sha256,
)
from tests.lib.keys.sigstore_instance import (
    BUNDLE_TYPE,
    NOW,
    Instance,
    Signer,
    b64,
    dsse_entry,
    envelope_of,
    hashedrekord,
    key_material,
    key_named,
    public_pem,
    sign,
    statement,
)
from tests.lib.registries.store import Repository

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
CERTIFICATE = "dev.sigstore.cosign/certificate"
LOG_ENTRY = "dev.sigstore.cosign/bundle"
EMPTY = "application/vnd.oci.empty.v1+json"

KEY, OTHER_KEY = key_named("signer"), key_named("somebody else")
INSTANCE, OTHER_INSTANCE = Instance(), Instance("other.example")
ISSUER, SUBJECT = "https://issuer.example", "release@example.com"

Attach = Callable[["Signed"], None]


@dataclass(frozen=True)
class Signed:
    """An image to attach signatures to; `digest` is hexadecimal."""

    repository: Repository
    digest: str
    other: str = sha256(b"another image")

    def simple(self, *layers: tuple[bytes, Mapping[str, str]]) -> None:
        """Attach signatures of cosign 2: payloads with their annotations."""
        config = dump({"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers"}})
        blobs = [
            descriptor(SIMPLE_SIGNING, payload, annotations=dict(notes))
            for payload, notes in layers
        ]
        for blob in (config, *(payload for payload, _ in layers)):
            self.repository.add_blob(blob)
        fields = {"config": descriptor(CONFIG_TYPE, config), "layers": blobs}
        manifest = dump({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, **fields})
        self.repository.add_manifest(manifest, MANIFEST_TYPE, tag=f"sha256-{self.digest}.sig")

    def bundle(self, *bundles: Mapping[str, Any]) -> None:
        """Attach signatures of cosign 3: bundles that refer to the image."""
        manifest = self.repository.manifests[f"sha256:{self.digest}"]
        subject = descriptor(MANIFEST_TYPE, manifest.data)
        for bundle in bundles:
            raw = dump(bundle)
            for blob in (b"{}", raw):
                self.repository.add_blob(blob)
            value = {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "artifactType": BUNDLE_TYPE,
                "config": descriptor(EMPTY, b"{}"),
                "layers": [descriptor(BUNDLE_TYPE, raw)],
                "subject": subject,
            }
            self.repository.add_manifest(dump(value), MANIFEST_TYPE)


def payload_of(digest: str, repository: str = "registry.example/team/app") -> bytes:
    """Return what cosign 2 signs for an image."""
    critical = {
        "identity": {"docker-reference": repository},
        "image": {"docker-manifest-digest": f"sha256:{digest}"},
        "type": "cosign container image signature",
    }
    return dump({"critical": critical, "optional": None})


def by_key(payload: bytes, key: Any = KEY) -> tuple[bytes, dict[str, str]]:
    """Return a payload with the annotations of a signature by a key."""
    return payload, {SIGNATURE: b64(sign(key, payload))}


def by_identity(
    payload: bytes,
    signer: Signer | None = None,
    *,
    at: datetime = NOW,
    instance: Instance = INSTANCE,
    logged: bytes | None = None,
) -> tuple[bytes, dict[str, str]]:
    """Return a payload with the annotations of a signature by an identity.

    It is logged `at`, with the body of an entry for the payload `logged`.
    """
    signer = signer or INSTANCE.issue(SUBJECT)
    signature = sign(signer.key, payload)
    body = hashedrekord(payload if logged is None else logged, signature, signer.pem)
    entry = json.dumps(instance.promise(body, at))
    return payload, {SIGNATURE: b64(signature), CERTIFICATE: signer.pem, LOG_ENTRY: entry}


def key_bundle(digest: str, key: Any = KEY, payload: bytes | None = None) -> dict[str, Any]:
    """Return the bundle of an image that is signed with a key."""
    envelope = envelope_of(key, statement(digest) if payload is None else payload)
    material = {**key_material(key), "tlogEntries": []}
    return {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": material,
        "dsseEnvelope": envelope,
    }


def message_bundle(digest: str, material: Mapping[str, Any], signature: bytes) -> dict[str, Any]:
    """Return the bundle of an image whose manifest is signed as a message."""
    hashed = {"algorithm": "SHA2_256", "digest": b64(bytes.fromhex(digest))}
    message = {"messageDigest": hashed, "signature": b64(signature)}
    return {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": material,
        "messageSignature": message,
    }


def identity_bundle(
    digest: str,
    signer: Signer | None = None,
    *,
    at: datetime = NOW,
    instance: Instance = INSTANCE,
    signed: str = "",
) -> dict[str, Any]:
    """Return the bundle of an image that is signed by an identity, logged `at`."""
    signer = signer or INSTANCE.issue(SUBJECT)
    envelope = envelope_of(signer.key, statement(signed or digest))
    return {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {
            "certificate": {"rawBytes": b64(_der(signer))},
            "tlogEntries": [instance.log_entry(dsse_entry(envelope, signer.pem), at)],
        },
        "dsseEnvelope": envelope,
    }


def _der(signer: Signer) -> bytes:
    return base64.b64decode("".join(signer.pem.splitlines()[1:-1]))


@dataclass(frozen=True)
class Case:
    """An image with signatures, and the verdict of its rule; `words` are in the refusal."""

    attach: Attach
    words: str = ""
    by_cosign: bool | None = None
    is_keyless: bool = False

    @property
    def accepted(self) -> bool:
        return not self.words

    @property
    def cosign_accepts(self) -> bool:
        """What cosign says; the same but where `by_cosign` names a difference."""
        return self.accepted if self.by_cosign is None else self.by_cosign


WRONG_KEY = "it was not made with the given key"
OTHER_IMAGE = "it is for another image"
LATE = NOW + timedelta(hours=1)


def _huge(image: Signed) -> bytes:
    return payload_of(image.digest)[:-1] + b" " * (2 << 20) + b"}"


def _with_certificate(image: Signed) -> tuple[bytes, Mapping[str, str]]:
    payload, notes = by_key(payload_of(image.digest))
    return payload, {**notes, CERTIFICATE: INSTANCE.issue(SUBJECT).pem}


def _swapped_envelope(image: Signed) -> dict[str, Any]:
    """Return a bundle with the signature of the bundle of another image."""
    bundle, other = key_bundle(image.digest), key_bundle(image.other)
    bundle["dsseEnvelope"]["signatures"] = other["dsseEnvelope"]["signatures"]
    return bundle


def _changed(bundle: dict[str, Any], *path: str | int, to: object) -> dict[str, Any]:
    """Return `bundle` with another value at `path`."""
    copy: dict[str, Any] = json.loads(json.dumps(bundle))
    inner: Any = copy
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = to
    return copy


def _flipped(text: str) -> str:
    """Return base64 with a bit of its last byte changed."""
    data = bytearray(base64.b64decode(text))
    data[-1] ^= 1
    return b64(bytes(data))


_ENTRY = ("verificationMaterial", "tlogEntries", 0)


def _mixed(image: Signed, *path: str) -> dict[str, Any]:
    """Return a bundle that has the part at `path` of the bundle of another image."""
    other: Any = identity_bundle(image.digest, signed=image.other)
    for step in path:
        other = other[step]
    return _changed(identity_bundle(image.digest), *path, to=other)


def _broken_promise(image: Signed) -> dict[str, Any]:
    bundle = identity_bundle(image.digest)
    place = (*_ENTRY, "inclusionPromise", "signedEntryTimestamp")
    old = bundle["verificationMaterial"]["tlogEntries"][0]["inclusionPromise"]
    return _changed(bundle, *place, to=_flipped(old["signedEntryTimestamp"]))


def _broken_checkpoint(image: Signed) -> dict[str, Any]:
    bundle = identity_bundle(image.digest)
    old = bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["checkpoint"]
    lines = old["envelope"].splitlines()
    head, _, signature = lines[-1].rpartition(" ")
    text = "\n".join([*lines[:-1], f"{head} {_flipped(signature)}", ""])
    return _changed(bundle, *_ENTRY, "inclusionProof", "checkpoint", "envelope", to=text)


def _without_promise(image: Signed) -> dict[str, Any]:
    bundle = identity_bundle(image.digest)
    del bundle["verificationMaterial"]["tlogEntries"][0]["inclusionPromise"]
    return bundle


def _identity_message(image: Signed) -> dict[str, Any]:
    signer = INSTANCE.issue(SUBJECT)
    data = image.repository.manifests[f"sha256:{image.digest}"].data
    signature = sign(signer.key, data)
    entry = INSTANCE.log_entry(hashedrekord(data, signature, signer.pem), NOW)
    material = {"certificate": {"rawBytes": b64(_der(signer))}, "tlogEntries": [entry]}
    return message_bundle(image.digest, material, signature)


def _key_message(image: Signed, key: Any = KEY) -> dict[str, Any]:
    data = image.repository.manifests[f"sha256:{image.digest}"].data
    material = {**key_material(key), "tlogEntries": []}
    return message_bundle(image.digest, material, sign(key, data))


def _simple(*payloads: Callable[[Signed], tuple[bytes, Mapping[str, str]]]) -> Attach:
    return lambda image: image.simple(*(each(image) for each in payloads))


def _bundle(make: Callable[[Signed], Mapping[str, Any]]) -> Attach:
    return lambda image: image.bundle(make(image))


def _note(key: str, value: str) -> Callable[[Signed], tuple[bytes, Mapping[str, str]]]:
    """Make a good signature by an identity with another annotation."""

    def make(image: Signed) -> tuple[bytes, Mapping[str, str]]:
        payload, notes = by_identity(payload_of(image.digest))
        return payload, {**notes, key: value}

    return make


def _set_of_another_time(image: Signed) -> tuple[bytes, Mapping[str, str]]:
    payload, notes = by_identity(payload_of(image.digest))
    entry = json.loads(notes[LOG_ENTRY])
    entry["Payload"]["integratedTime"] += 1
    return payload, {**notes, LOG_ENTRY: json.dumps(entry)}


def _bad_bundle_beside_good_signature(image: Signed) -> None:
    image.simple(by_key(payload_of(image.digest)))
    image.bundle(key_bundle(image.digest, OTHER_KEY))


BY_KEY = {
    "simple": Case(_simple(lambda image: by_key(payload_of(image.digest)))),
    "simple-second-of-two": Case(
        _simple(
            lambda image: by_key(payload_of(image.digest), OTHER_KEY),
            lambda image: by_key(payload_of(image.digest)),
        )
    ),
    "simple-other-repository": Case(
        _simple(lambda image: by_key(payload_of(image.digest, "elsewhere.example/app")))
    ),
    "simple-other-digest": Case(
        _simple(lambda image: by_key(payload_of(image.other))), OTHER_IMAGE
    ),
    "simple-wrong-key": Case(
        _simple(lambda image: by_key(payload_of(image.digest), OTHER_KEY)), WRONG_KEY
    ),
    "simple-swapped": Case(
        _simple(lambda image: (payload_of(image.digest), by_key(payload_of(image.other))[1])),
        WRONG_KEY,
    ),
    "simple-expired-certificate": Case(
        _simple(_with_certificate), "certificate beside it has expired"
    ),
    "simple-not-json": Case(_simple(lambda _: by_key(b"not JSON")), "is not valid JSON"),
    "simple-not-base64": Case(
        _simple(lambda image: (payload_of(image.digest), {SIGNATURE: "%%%"})), "is not base64"
    ),
    # Talos reads 1 MiB of a payload; cosign has a limit of 128 MiB.
    "simple-huge": Case(_simple(lambda image: by_key(_huge(image))), "exceeds 1", by_cosign=True),
    "unsigned": Case(lambda _: None, "it has no signature"),
    "bundle": Case(_bundle(lambda image: key_bundle(image.digest))),
    "bundle-other-digest": Case(_bundle(lambda image: key_bundle(image.other)), OTHER_IMAGE),
    "bundle-wrong-key": Case(_bundle(lambda image: key_bundle(image.digest, OTHER_KEY)), WRONG_KEY),
    "bundle-swapped": Case(_bundle(_swapped_envelope), WRONG_KEY),
    "bundle-of-identity": Case(
        _bundle(lambda image: identity_bundle(image.digest)), "it was made with a certificate"
    ),
    "bundle-not-a-statement": Case(
        _bundle(lambda image: key_bundle(image.digest, payload=b"[]")), "must be a JSON object"
    ),
    "bundle-replaces-simple": Case(_bad_bundle_beside_good_signature, WRONG_KEY),
    # Talos accepts signatures of the manifest itself; `cosign verify` wants a statement.
    "message": Case(_bundle(_key_message), by_cosign=False),
    "message-wrong-key": Case(_bundle(lambda image: _key_message(image, OTHER_KEY)), WRONG_KEY),
}
BY_IDENTITY = {
    "id-simple": Case(_simple(lambda image: by_identity(payload_of(image.digest)))),
    "id-simple-other-digest": Case(
        _simple(lambda image: by_identity(payload_of(image.other))), OTHER_IMAGE
    ),
    "id-simple-other-subject": Case(
        _simple(
            lambda image: by_identity(
                payload_of(image.digest), INSTANCE.issue("release@example.com.evil.example")
            )
        ),
        "it was made by release@example.com.evil.example",
    ),
    "id-simple-other-issuer": Case(
        _simple(
            lambda image: by_identity(
                payload_of(image.digest), INSTANCE.issue(SUBJECT, issuer="https://evil.example")
            )
        ),
        "OIDCIssuer",
    ),
    "id-simple-expired": Case(
        _simple(lambda image: by_identity(payload_of(image.digest), at=LATE)), "certificate"
    ),
    "id-simple-without-log": Case(_simple(_note(LOG_ENTRY, "")), "no entry of a transparency log"),
    "id-simple-without-certificate": Case(
        _simple(lambda image: by_key(payload_of(image.digest))), "it has no certificate"
    ),
    "id-simple-set-of-another-time": Case(_simple(_set_of_another_time), "SET"),
    "id-simple-other-log": Case(
        _simple(lambda image: by_identity(payload_of(image.digest), instance=OTHER_INSTANCE)), "SET"
    ),
    "id-simple-entry-of-another": Case(
        _simple(
            lambda image: by_identity(payload_of(image.digest), logged=payload_of(image.other))
        ),
        "inconsistent",
    ),
    "id-simple-other-authority": Case(
        _simple(lambda image: by_identity(payload_of(image.digest), OTHER_INSTANCE.issue(SUBJECT))),
        "certificate chain",
    ),
    "id-simple-without-sct": Case(
        _simple(
            lambda image: by_identity(
                payload_of(image.digest), INSTANCE.issue(SUBJECT, with_sct=False)
            )
        ),
        "SCT",
    ),
    "id-simple-broken-log": Case(_simple(_note(LOG_ENTRY, "[1")), "is not valid JSON"),
    "id-simple-broken-certificate": Case(_simple(_note(CERTIFICATE, "-----BEGIN")), "PEM"),
    "id-bundle": Case(_bundle(lambda image: identity_bundle(image.digest))),
    "id-bundle-other-digest": Case(
        _bundle(lambda image: identity_bundle(image.digest, signed=image.other)), OTHER_IMAGE
    ),
    "id-bundle-other-subject": Case(
        _bundle(lambda image: identity_bundle(image.digest, INSTANCE.issue("evil@example.com"))),
        "it was made by evil@example.com",
    ),
    "id-bundle-other-issuer": Case(
        _bundle(
            lambda image: identity_bundle(
                image.digest, INSTANCE.issue(SUBJECT, issuer="https://evil.example")
            )
        ),
        "OIDCIssuer",
    ),
    "id-bundle-expired": Case(
        _bundle(lambda image: identity_bundle(image.digest, at=LATE)), "certificate"
    ),
    "id-bundle-broken-set": Case(_bundle(_broken_promise), "SET"),
    "id-bundle-without-set": Case(_bundle(_without_promise), "inclusion promise"),
    "id-bundle-broken-proof": Case(
        _bundle(
            lambda image: _changed(
                identity_bundle(image.digest),
                *(*_ENTRY, "inclusionProof", "rootHash"),
                to=b64(bytes(32)),
            )
        ),
        "log entry",
    ),
    "id-bundle-broken-checkpoint": Case(_bundle(_broken_checkpoint), "log entry"),
    "id-bundle-other-log": Case(
        _bundle(lambda image: identity_bundle(image.digest, instance=OTHER_INSTANCE)), "log entry"
    ),
    "id-bundle-of-key": Case(
        _bundle(lambda image: key_bundle(image.digest)), "it was made with a key"
    ),
    "id-bundle-swapped": Case(
        _bundle(lambda image: _mixed(image, "dsseEnvelope", "signatures")), "signature"
    ),
    "id-bundle-entry-of-another": Case(
        _bundle(lambda image: _mixed(image, "verificationMaterial", "tlogEntries")), "log entry"
    ),
    "id-message": Case(_bundle(_identity_message), by_cosign=False),
}
CASES = {**BY_KEY, **BY_IDENTITY}


def add_case(repository: Repository, name: str, case: Case) -> None:
    """Put the image of a case into a repository of a registry, as `v1`."""
    case.attach(Signed(repository, sha256(add_image(repository, name, "amd64", tag="v1"))))


def add_image(repository: Repository, name: str, arch: str, *, tag: str = "") -> bytes:
    """Put an image into a repository; return its manifest."""
    config = dump({"architecture": arch, "os": "linux", "of": name})
    layer = f"the layer of {name}\n".encode() * 100
    for blob in (config, layer):
        repository.add_blob(blob)
    manifest = image_manifest(config, [layer])
    repository.add_manifest(manifest, MANIFEST_TYPE, tag=tag)
    return manifest


HEAD = "apiVersion: v1alpha1\nkind: ImageVerificationConfig\nrules:\n"


def rule_for(pattern: str, key: str) -> str:
    """Return a policy of one rule, for images that are signed with a public key in PEM."""
    return HEAD + _by_key(pattern, key)


def policy(host: str) -> str:
    """Return the rules for the images of all cases in the registry `host`."""
    keyed = "".join(_by_key(f"{host}/team/{name}", public_pem(KEY)) for name in BY_KEY)
    signer = f"issuer: {ISSUER}\n      subject: {SUBJECT}\n"
    keyless = "".join(
        f"  - image: '{host}/team/{name}'\n    keyless:\n      {signer}" for name in BY_IDENTITY
    )
    return f"{HEAD}{keyed}{keyless}"


def _by_key(pattern: str, key: str) -> str:
    lines = "".join(f"        {line}\n" for line in key.splitlines())
    return f"  - image: '{pattern}'\n    publicKey:\n      certificate: |\n{lines}"
