"""The referrers API of the OCI distribution specification 1.1.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers
"""

from __future__ import annotations

from imager.oci.digest import Digest
from imager.oci.manifest import Descriptor, RawManifest, index_json
from imager.oci.referrers import referrer_entry, subject_of
from imager.registry.catalog import Repository
from imager.support.errors import ImagerError


def referrers_json(repository: Repository, subject: Digest, artifact_type: str | None) -> bytes:
    """Return the index of the manifests with the subject `subject`, optionally of one type."""
    manifests = {manifest.digest: manifest for manifest in repository.values()}
    entries = (_entry(manifests[digest], subject) for digest in sorted(manifests))
    return index_json(
        entry for entry in entries if entry and artifact_type in (None, entry.artifact_type)
    )


def _entry(manifest: RawManifest, subject: Digest) -> Descriptor | None:
    try:
        return referrer_entry(manifest) if subject_of(manifest) == subject else None
    except ImagerError:
        return None  # an image with an invalid subject is still served
