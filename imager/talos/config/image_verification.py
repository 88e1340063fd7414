"""Read ImageVerificationConfig documents: which images need which signatures.

https://docs.siderolabs.com/talos/latest/reference/configuration/security/imageverificationconfig,
and Talos's own validation (pkg/machinery/config/types/security/image_verification.go).
"""

from __future__ import annotations

from dataclasses import dataclass

from imager.oci.cosign.keyless import Identity
from imager.oci.cosign.keys import SigningKey
from imager.oci.reference import DOCKER_HUB, Reference
from imager.support.errors import InputError
from imager.talos.config.cel import glob
from imager.talos.config.fields import FieldReader
from imager.talos.config.regex import search

VERIFICATION_KIND = "ImageVerificationConfig"
# Talos matches the images of Docker Hub by this name alone.
_HUB_IN_TALOS = f"index.{DOCKER_HUB}"
_MOST_RULES = 1000
_LONGEST_PATTERN = 1000


@dataclass(frozen=True, slots=True)
class VerificationRule:
    """A rule for the images that `pattern` matches; `number` counts from 0, as in Talos.

    It allows them without a signature (`skip`), refuses them (`deny`), or requires a signature of
    `signer`.
    """

    number: int
    pattern: str
    skip: bool
    deny: bool
    signer: SigningKey | Identity | None

    def matches(self, image: Reference) -> bool:
        """Whether the rule is for `image`; tag and digest play no role."""
        names = [image.name]
        if image.registry == DOCKER_HUB:
            names.append(f"{_HUB_IN_TALOS}/{image.repository}")
        return any(glob(self.pattern, name) for name in names)

    def __str__(self) -> str:
        return f"rules[{self.number}] ({self.pattern})"


@dataclass(frozen=True, slots=True)
class VerificationRules:
    """The rules of a machine configuration, in order: the first that matches applies."""

    rules: tuple[VerificationRule, ...]

    def rule_for(self, image: Reference) -> VerificationRule | None:
        """Return the rule for `image`; None if there is none, which Talos takes as permission."""
        return next((rule for rule in self.rules if rule.matches(image)), None)

    @property
    def needs_trusted_root(self) -> bool:
        """Whether a rule names an identity."""
        return any(isinstance(rule.signer, Identity) for rule in self.rules)


def read_verification(section: FieldReader) -> VerificationRules:
    """Return the rules of an ImageVerificationConfig document; reports what is not valid."""
    section.require_known(("apiVersion", "kind", "rules"))
    rules = section.sections("rules")
    if len(rules) > _MOST_RULES:
        section.report(f"has more than {_MOST_RULES} rules", key="rules")
    return VerificationRules(tuple(_read_rule(*each) for each in enumerate(rules[:_MOST_RULES])))


def _read_rule(number: int, rule: FieldReader) -> VerificationRule:
    rule.require_known(("image", "skip", "deny", "keyless", "publicKey"))
    pattern = rule.text("image")
    if not pattern or len(pattern) > _LONGEST_PATTERN:
        rule.report("must be a pattern such as registry.k8s.io/*", key="image")
    skip, deny = (rule.flag(key) or False for key in ("skip", "deny"))
    signers = [key for key in ("keyless", "publicKey") if rule.has(key)]
    if skip + deny + len(signers) != 1:
        rule.report("must have one of skip, deny, keyless and publicKey")
    signer: SigningKey | Identity | None = None
    if rule.has("publicKey"):
        signer = _read_key(rule.section("publicKey"))
    elif rule.has("keyless"):
        signer = _read_identity(rule.section("keyless"))
    return VerificationRule(number, pattern[:_LONGEST_PATTERN], skip, deny, signer)


def _read_key(section: FieldReader) -> SigningKey | None:
    section.require_known(("certificate",))
    try:
        return SigningKey.parse(section.text("certificate"))
    except InputError as error:
        section.report(error.message, key="certificate")
        return None


def _read_identity(section: FieldReader) -> Identity | None:
    section.require_known(("issuer", "subject", "subjectRegex"))
    issuer, subject, pattern = (section.text(key) for key in ("issuer", "subject", "subjectRegex"))
    if not issuer:
        section.report("must be the URL of an OpenID Connect provider", key="issuer")
    if not subject and not pattern:
        section.report("must have subject or subjectRegex")
    if pattern:
        try:
            search(pattern, "")
        except InputError as error:
            section.report(error.message, key="subjectRegex")
    return Identity(issuer, subject, (lambda name: search(pattern, name)) if pattern else None)


def report_doubts(section: FieldReader) -> None:
    """Report patterns that Talos accepts and that may be mistakes."""
    for rule in section.sections("rules")[:_MOST_RULES]:
        pattern = rule.text("image")
        _, _, repository = pattern.partition("/")
        if "@" in pattern or ":" in repository:
            rule.report("matches no image: tags and digests are not compared", key="image")
        elif pattern and "/" not in pattern and "*" not in pattern:
            rule.report(f"matches no image: write {DOCKER_HUB}/library/{pattern}", key="image")
        elif pattern.startswith(f"{DOCKER_HUB}/"):
            rule.report(
                f"Talos knows images of Docker Hub as {_HUB_IN_TALOS}/...: add a rule for it",
                key="image",
            )
