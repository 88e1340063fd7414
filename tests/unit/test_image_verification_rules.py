"""Rules of an ImageVerificationConfig: what is valid, and which one applies to an image.

Expectations: Talos's pkg/machinery/config/types/security/image_verification.go, and
https://github.com/ryanuber/go-glob for patterns.
"""

from __future__ import annotations

import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from imager.oci.cosign.evidence import NotVerifiedError, SimpleSignature
from imager.oci.cosign.keyless import Identity, TrustedRoot
from imager.oci.cosign.keys import SigningKey
from imager.oci.digest import Digest
from imager.oci.reference import Reference
from imager.support.errors import DependencyError, InputError, InvalidConfigError
from imager.talos.config.document import MachineConfig, read_machine_config
from imager.talos.config.doubts import doubts
from imager.talos.config.image_verification import VerificationRules
from imager.talos.config.regex import search
from tests.lib.keys.sigstore_instance import key_named, public_pem
from tests.lib.registries.signed_images import INSTANCE, payload_of

HEAD = "apiVersion: v1alpha1\nkind: ImageVerificationConfig\n"
KEY = "".join(f"        {line}\n" for line in public_pem(key_named("signer")).splitlines())
BY_KEY = f"    publicKey:\n      certificate: |\n{KEY}"
KEYLESS = "    keyless:\n      issuer: https://issuer.example\n"


def config(rules: str) -> MachineConfig:
    return read_machine_config(f"{HEAD}rules:\n{rules}", source="policy")


def rules_of(rules: str) -> VerificationRules:
    found = config(rules).verification
    assert found is not None
    return found


def number_for(rules: VerificationRules, image: str) -> int | None:
    rule = rules.rule_for(Reference.parse(image))
    return None if rule is None else rule.number


def test_the_first_matching_rule_applies() -> None:
    rules = rules_of(
        "  - image: registry.k8s.io/e2e/*\n    skip: true\n"
        f"  - image: registry.k8s.io/*\n{KEYLESS}      subject: k8s@example.com\n"
        f"  - image: '*/app'\n{BY_KEY}"
        "  - image: docker.io/library/redis\n    deny: true\n"
        "  - image: index.docker.io/*\n    deny: true\n"
    )
    for image, number in {
        "registry.k8s.io/e2e/a/b:v1": 0,
        "registry.k8s.io/e2e": 1,
        "registry.k8s.io/pause@sha256:" + "0" * 64: 1,
        "a.example:5000/team/app:v1": 2,
        "a.example/team/app2:v1": None,
        "redis": 3,
        # Docker Hub's name in Talos.
        "alpine": 4,
        "x.example/registry.k8s.io/a": None,
    }.items():
        assert number_for(rules, image) == number, image
    assert [type(rule.signer) for rule in rules.rules[:3]] == [type(None), Identity, SigningKey]
    assert [rule.skip for rule in rules.rules[:2]] == [True, False]
    assert [rule.deny for rule in rules.rules[2:]] == [False, True, True]
    assert rules.needs_trusted_root
    assert not rules_of("  - image: '*'\n    deny: true\n").needs_trusted_root


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("skip: true", ".image: must be a pattern"),
        ("image: a/*", ": must have one of skip, deny, keyless and publicKey"),
        ("image: a/*\n    skip: true\n    deny: true", ": must have one of"),
        (f"image: a/*\n    deny: true\n{BY_KEY}", ": must have one of"),
        (f"image: a/*\n{BY_KEY}{KEYLESS}      subject: a", ": must have one of"),
        (f"image: a/*\n{KEYLESS}", ".keyless: must have subject or subjectRegex"),
        ("image: a/*\n    keyless:\n      subject: a", ".keyless.issuer: must be the URL"),
        (
            f"image: a/*\n{KEYLESS}      subjectRegex: '('",
            ".keyless.subjectRegex: is not a regular",
        ),
        (
            f"image: a/*\n{KEYLESS}      subjectRegex: '(?!a)'",
            ".keyless.subjectRegex: is not a regular",
        ),
        (
            "image: a/*\n    publicKey: {}",
            ".publicKey.certificate: is not a public key in PEM",
        ),
        ("image: a/*\n    denied: true", ".denied: unknown field (did you mean deny?)"),
        ("image: a/*\n    skip: maybe", ".skip: is not true or false"),
        ("- nested", ": is not a mapping"),
    ],
)
def test_rules_that_talos_would_refuse(rule: str, problem: str) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        config(f"  - {rule}\n")
    assert f"ImageVerificationConfig: rules[0]{problem}" in caught.value.message


def test_a_certificate_is_no_public_key() -> None:
    """Talos's documentation shows one, but its code takes public keys alone."""
    text = "".join(f"        {line}\n" for line in INSTANCE.issue("a@example.com").pem.splitlines())
    with pytest.raises(InvalidConfigError) as caught:
        config(f"  - image: a/*\n    publicKey:\n      certificate: |\n{text}")
    assert "certificate: is a certificate: Talos requires" in caught.value.message


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("a.example/app:v1", "tags and digests are not compared"),
        ("a.example/app@sha256:1", "tags and digests are not compared"),
        ("nginx", "write docker.io/library/nginx"),
        ("docker.io/library/nginx", "index.docker.io/..."),
    ],
)
def test_patterns_that_may_be_mistakes(pattern: str, words: str) -> None:
    found = list(doubts(config(f"  - image: '{pattern}'\n    skip: true\n")))
    assert [(each.line, words in each.text) for each in found] == [(4, True)]


@pytest.mark.parametrize("pattern", ["*", "a.example:5000/*", "a.example/app", "*nginx"])
def test_usual_patterns_have_no_warning(pattern: str) -> None:
    assert list(doubts(config(f"  - image: '{pattern}'\n    skip: true\n"))) == []


def test_regular_expressions_are_those_of_go() -> None:
    assert search(r"(@a\.example$|^svc@b\.example$)", "me@a.example")
    assert not search(r"(@a\.example$|^svc@b\.example$)", "my-svc@b.example")
    assert search("(?i)ADMIN", "the admin of it")
    # Exponential in engines that backtrack.
    assert not search("(a+)+$", "a" * 5000 + "!")
    for wrong in ("(", "(?=a)", r"\1"):
        with pytest.raises(InputError, match="is not a regular expression"):
            search(wrong, "a")


def test_keys_of_all_kinds() -> None:
    """RSA with PKCS #1 v1.5 and Ed25519, as cosign uses them; ECDSA is in all other tests."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    digest = Digest.of(b"manifest")
    payload = payload_of(digest.hex)
    own, large = ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)
    for key, signature in (
        (own.public_key(), own.sign(payload)),
        (large.public_key(), large.sign(payload, PKCS1v15(), SHA256())),
    ):
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        signer = SigningKey.parse(pem)
        signer.verify(SimpleSignature(payload, signature), digest)
        for wrong in (signature[:-1] + bytes([signature[-1] ^ 1]), b"", signature + b"\0"):
            with pytest.raises(NotVerifiedError):
                signer.verify(SimpleSignature(payload, wrong), digest)
        with pytest.raises(NotVerifiedError):
            signer.verify(SimpleSignature(payload + b" ", signature), digest)


@pytest.mark.parametrize(
    ("subject", "pattern", "found"),
    [
        ("a@example.com", "", True),
        ("b@example.com", "", False),
        ("", "@example\\.com$", True),
        ("", "^example", False),
        ("a@example.com", "@example\\.com$", True),
        ("b@example.com", "@example\\.com$", False),
        ("a@example.com", "^b", False),
    ],
)
def test_subject_and_pattern_must_both_match(subject: str, pattern: str, found: bool) -> None:
    keys = (("subject", subject), ("subjectRegex", pattern))
    fields = "".join(f"      {key}: '{value}'\n" for key, value in keys if value)
    signer = rules_of(f"  - image: '*'\n{KEYLESS}{fields}").rules[0].signer
    assert isinstance(signer, Identity)
    assert signer.is_subject("a@example.com") is found


def test_identities_need_the_sigstore_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sigstore", None)
    with pytest.raises(DependencyError, match="needs the Python package sigstore") as caught:
        TrustedRoot.parse(INSTANCE.trusted_root().decode(), where="root")
    assert caught.value.hint == "pip install sigstore"
