"""The referrers API of the OCI distribution specification 1.1.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers
"""

from __future__ import annotations

from dataclasses import replace

from imager.oci.digest import Digest
from imager.oci.documents import load_fields
from imager.oci.manifest import Descriptor, RawManifest, index_json, parse_annotations
from imager.registry.catalog import Repository
from imager.support.errors import ImagerError


def referrers_json(repository: Repository, subject: Digest, artifact_type: str | None) -> bytes:
    """Return the index of the manifests with the subject `subject`, optionally of one type."""
    manifests = {manifest.digest: manifest for manifest in repository.values()}
    entries = (_descriptor(manifests[digest], subject) for digest in sorted(manifests))
    return index_json(
        entry for entry in entries if entry and artifact_type in (None, entry.artifact_type)
    )


def _descriptor(manifest: RawManifest, subject: Digest) -> Descriptor | None:
    # Most manifests have no subject, and need not be parsed again.
    if b'"subject"' not in manifest.raw:
        return None
    try:
        fields = load_fields(manifest.raw, where="manifest")
        referred, config = fields.child("subject"), fields.child("config")
        if referred is None or referred.text("digest") != str(subject):
            return None
        return replace(
            manifest.descriptor(),
            annotations=parse_annotations(fields.child("annotations")),
            artifact_type=fields.text("artifactType")
            or (config.text("mediaType") if config else ""),
        )
    except ImagerError:
        return None  # an image with an invalid subject is still served
