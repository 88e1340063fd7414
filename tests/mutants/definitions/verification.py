"""Breaks of what verifies the signatures of images against a policy."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_RULES = "tests/unit/test_image_verification_rules.py"
_SITE = "tests/oracle/test_image_verification.py"
_NAMED = f"{_SITE}::test_every_refused_image_is_named_before_a_layer_is_fetched"
_ALLOWED = f"{_SITE}::test_allowed_images_are_cached_and_verified_without_a_network"

_CLAIMS = "imager/oci/cosign/claims.py"
_KEYS = "imager/oci/cosign/keys.py"
_KEYLESS = "imager/oci/cosign/keyless.py"
_EVIDENCE = "imager/oci/cosign/evidence.py"
_CONFIG = "imager/talos/config/image_verification.py"
_POLICY = "imager/cache/signature_policy.py"

MUTANTS = (
    Mutant(
        "refused images are cached",
        "imager/app/create_cache.py",
        "judgement.require()",
        "judgement.problems",
        _NAMED,
    ),
    Mutant(
        "a policy of a finished cache is not applied",
        "imager/cache/verify.py",
        "*judgement.problems))",
        "*judgement.notes))",
        f"{_SITE}::test_a_finished_cache_has_the_same_verdicts_without_a_network",
    ),
    Mutant(
        "denied images are allowed",
        _POLICY,
        "elif rule.deny:",
        "elif rule.skip:",
        f"{_SITE}::test_the_first_rule_that_matches_applies",
    ),
    Mutant(
        "the last rule that matches applies",
        _CONFIG,
        "rule for rule in self.rules if",
        "rule for rule in self.rules[::-1] if",
        f"{_RULES}::test_the_first_matching_rule_applies",
    ),
    Mutant(
        "Docker Hub has one name",
        _CONFIG,
        "if image.registry == DOCKER_HUB:",
        "if image.registry == _HUB_IN_TALOS:",
        f"{_RULES}::test_the_first_matching_rule_applies",
    ),
    Mutant(
        "rules may have two verdicts",
        _CONFIG,
        "if skip + deny + len(signers) != 1:",
        "if not skip + deny + len(signers):",
        f"{_RULES}::test_rules_that_talos_would_refuse",
    ),
    Mutant(
        "a signature of another image counts",
        _CLAIMS,
        "if named != str(signed):",
        "if not named:",
        _NAMED,
    ),
    Mutant(
        "a statement on another image counts",
        _CLAIMS,
        "if signed.hex not in named:",
        "if not named:",
        _NAMED,
    ),
    Mutant(
        "a bundle with a certificate counts as one of a key",
        _KEYS,
        "if not bundle.has_key:",
        "if not bundle.signature:",
        _NAMED,
    ),
    Mutant(
        "an identity's issuer is not compared",
        _KEYLESS,
        "(OIDCIssuerV2 if is_new else OIDCIssuer)(self.issuer).verify(cert)",
        "(OIDCIssuerV2 if is_new else OIDCIssuer)(self.issuer)",
        _NAMED,
    ),
    Mutant(
        "an identity's subject is not compared",
        _KEYLESS,
        "if not any(map(self.is_subject, subjects)):",
        "if not subjects:",
        _NAMED,
    ),
    Mutant(
        "a subject and its pattern: one is enough",
        _KEYLESS,
        "if self.subject and subject != self.subject:",
        "if self.subject and not self.matches and subject != self.subject:",
        f"{_RULES}::test_subject_and_pattern_must_both_match",
    ),
    Mutant(
        "the log's promise is not verified",
        _KEYLESS,
        "self._verify_set(keyring)",
        "self._verify_set",
        _NAMED,
    ),
    Mutant(
        "what the sigstore library refuses is verified",
        _KEYLESS,
        "        raise NotVerifiedError(_first_line(error)) from error",
        "        _first_line(error)",
        _NAMED,
    ),
    Mutant(
        "large signatures are read",
        _EVIDENCE,
        "if layer.size > LARGEST_SIGNATURE:",
        "if layer.size > LARGEST_SIGNATURE << 4:",
        _NAMED,
    ),
    Mutant(
        "only the first signature is read",
        _POLICY,
        "for layer in layers:",
        "for layer in layers[:1]:",
        _ALLOWED,
    ),
    Mutant(
        "an image without signatures is verified",
        _POLICY,
        'return "it has no signature"',
        'return ""',
        _NAMED,
    ),
    Mutant(
        "a payload of another image counts with a key",
        _KEYS,
        "            check_payload(signature.payload, signed)\n",
        "",
        _NAMED,
    ),
    Mutant(
        "a payload of another image counts with an identity",
        _KEYLESS,
        "            check_payload(signature.payload, signed)\n",
        "",
        _NAMED,
    ),
    Mutant(
        "a bundle of another image counts with a key",
        _KEYS,
        "        bundle.check_subject(signed)\n",
        "",
        _NAMED,
    ),
    Mutant(
        "a bundle of another image counts with an identity",
        _KEYLESS,
        "            content.check_subject(signed)\n",
        "",
        _NAMED,
    ),
    Mutant(
        "anyone may sign a payload",
        _KEYS,
        "            self._check(signature.signature, signature.payload)\n",
        "",
        _NAMED,
    ),
    Mutant(
        "anyone may sign a statement",
        _KEYS,
        "self._check(bundle.signature, bundle.signed_bytes(bundle.statement))",
        "bundle.signed_bytes(bundle.statement)",
        _NAMED,
    ),
    Mutant(
        "anyone may sign a message",
        _KEYS,
        "self._check_digest(bundle.signature, signed)",
        "bundle.has_key",
        _NAMED,
    ),
    Mutant(
        "a valid signature of the older form outweighs a bundle",
        _EVIDENCE,
        "        if found:\n",
        "        if not found:\n",
        _NAMED,
    ),
    Mutant(
        "a certificate beside a signature by a key may have expired",
        _KEYS,
        "            _check_validity(signature.certificate)\n",
        "",
        _NAMED,
    ),
)
