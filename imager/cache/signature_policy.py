"""Check the signatures of images against the rules of an ImageVerificationConfig.

Only what is cached with an image counts, so a machine without a network comes to the same verdict.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from imager.cache.contents import Gathered
from imager.cache.errors import UnverifiedImageError
from imager.cache.paths import manifest_path
from imager.oci.cosign.evidence import NotVerifiedError, Repository
from imager.oci.cosign.keyless import Identity, TrustedRoot
from imager.oci.cosign.keys import SigningKey
from imager.oci.digest import Digest
from imager.oci.manifest import Descriptor, RawManifest
from imager.oci.reference import Reference
from imager.oci.signature import signed_digest
from imager.oci.source import ByteSink
from imager.support.errors import InputError, UnsupportedError
from imager.support.screen import one_line
from imager.support.units import count

if TYPE_CHECKING:
    from imager.talos.config.image_verification import VerificationRules

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class SignaturePolicy:
    """Rules for images, and the trusted root for those that name an identity."""

    rules: VerificationRules
    root: TrustedRoot | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """The images with a valid signature, those without a rule, and why others are refused."""

    verified: tuple[Reference, ...] = ()
    without_rule: tuple[Reference, ...] = ()
    refused: tuple[tuple[Reference, str], ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """The refused images with their reasons."""
        return tuple(one_line(f"{image}: {reason}") for image, reason in self.refused)

    @property
    def notes(self) -> tuple[str, ...]:
        """A note on images without a rule, if there are any."""
        if not self.without_rule:
            return ()
        shown = ", ".join(map(str, self.without_rule[:_SHOWN]))
        more = ", ..." if len(self.without_rule) > _SHOWN else ""
        images = count(len(self.without_rule), "image")
        return (f"no rule of the policy is for {images}, which Talos allows: {shown}{more}",)

    def require(self) -> None:
        """Raise UnverifiedImageError with all refused images."""
        if self.refused:
            lines = "".join(f"\n  {problem}" for problem in self.problems)
            raise UnverifiedImageError(
                f"{count(len(self.refused), 'image')} refused by the verification policy:{lines}"
            )


def judge(gathered: Gathered, images: Iterable[Reference], policy: SignaturePolicy) -> Judgement:
    """Check each of `images`, whose manifests and signatures are in `gathered`.

    Reads the signatures, which are small, but no layer of an image. Raises DependencyError if a
    registry fails.
    """
    verified, without_rule, refused = [], [], []
    for image in sorted(images, key=str):
        if _is_signature(gathered, image):
            continue
        rule = policy.rules.rule_for(image)
        if rule is None:
            without_rule.append(image)
        elif rule.deny:
            refused.append((image, f"denied by {rule}"))
        elif rule.signer is not None:
            reason = _reason(gathered, image, rule.signer, policy.root)
            if reason:
                refused.append((image, f"{reason} ({rule})"))
            else:
                verified.append(image)
    return Judgement(tuple(verified), tuple(without_rule), tuple(refused))


def _is_signature(gathered: Gathered, image: Reference) -> bool:
    """Whether `image` is the tag of signatures of another image in `gathered`."""
    signed = signed_digest(image.tag)
    if signed is None or signed == _root(gathered, image).digest:
        return False
    return manifest_path(replace(image, tag=None, digest=signed)) in gathered.manifests


def _root(gathered: Gathered, image: Reference) -> RawManifest:
    return RawManifest.parse(gathered.manifests[manifest_path(image)], where=str(image))


def _reason(
    gathered: Gathered, image: Reference, signer: SigningKey | Identity, root: TrustedRoot | None
) -> str:
    """Return why no signature of `image` is valid; empty if one is."""
    signed, repository = _root(gathered, image).digest, _repository(gathered, image)
    reasons: list[str] = []
    try:
        layers = repository.signature_layers(signed)
    except (InputError, UnsupportedError) as error:
        return f"its signatures cannot be read: {error.message}"
    for layer in layers:
        try:
            _verify(repository, layer, signed, signer, root)
        except (InputError, UnsupportedError) as error:
            reasons.append(error.message)
        else:
            return ""
    if not reasons:
        return "it has no signature"
    more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
    return f"its signature is not valid: {reasons[0]}{more}"


def _verify(
    repository: Repository,
    layer: Descriptor,
    signed: Digest,
    signer: SigningKey | Identity,
    root: TrustedRoot | None,
) -> None:
    signature = repository.read(layer)
    if isinstance(signer, SigningKey):
        signer.verify(signature, signed)
    elif root is None:
        raise NotVerifiedError("there is no trusted root for identities")
    else:
        root.verify(signature, signed, signer)


def _repository(gathered: Gathered, image: Reference) -> Repository:
    def manifest(target: str | Digest) -> RawManifest | None:
        name = replace(image, tag=None, digest=None)
        if isinstance(target, Digest):
            name = replace(name, digest=target)
        else:
            name = replace(name, tag=target)
        raw = gathered.manifests.get(manifest_path(name))
        return None if raw is None else RawManifest.parse(raw, where=str(name))

    def fetch(blob: Descriptor, sink: ByteSink) -> None:
        source = gathered.blobs.get(blob.digest)
        if source is None:
            raise NotVerifiedError(f"blob {blob.digest} of a signature is missing")
        source.source.fetch_blob(blob, sink)

    return Repository(manifest, fetch)
