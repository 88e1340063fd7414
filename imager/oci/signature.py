"""Tags of the signatures of an image, derived from the image's digest.

    sha256-<hex>.sig    a manifest of cosign's, a layer for each signature
    sha256-<hex>        an index of all referrers, for registries without the referrers API

https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md, and OCI distribution
specification 1.1, section Referrers Tag Schema
(https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema).
"""

from __future__ import annotations

import re

from imager.oci.digest import Digest

_TAG = re.compile(r"sha256-([0-9a-f]{64})(?:\.sig)?", re.ASCII)


def signature_tags(signed: Digest) -> tuple[str, ...]:
    """Return the tags that may hold signatures of the image with the digest `signed`."""
    return f"{signed.file_name}.sig", signed.file_name


def signed_digest(tag: str | None) -> Digest | None:
    """Return the digest of the image that `tag` holds signatures of, None for other tags."""
    match = _TAG.fullmatch(tag or "")
    return Digest(match[1]) if match else None
