"""The referrers API of the OCI distribution specification 1.1.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers
"""

from __future__ import annotations

from collections.abc import Iterator

from imager.oci.digest import Digest
from imager.oci.documents import Fields, dump_json, load_fields
from imager.oci.manifest import OCI_INDEX, RawManifest
from imager.registry.catalog import Repository
from imager.support.errors import ImagerError


def referrers_json(repository: Repository, subject: Digest, artifact_type: str | None) -> bytes:
    """Return the index of the manifests with the subject `subject`, optionally of one type."""
    manifests = {manifest.digest: manifest for manifest in repository.values()}
    return dump_json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [
                entry
                for digest in sorted(manifests)
                for entry in _descriptors(manifests[digest], subject)
                if artifact_type in (None, entry.get("artifactType"))
            ],
        }
    )


def _descriptors(manifest: RawManifest, subject: Digest) -> Iterator[dict[str, object]]:
    # Most manifests have no subject, and need not be parsed again.
    if b'"subject"' not in manifest.raw:
        return
    try:
        fields = load_fields(manifest.raw, where="manifest")
        referred = fields.child("subject")
        if referred is None or referred.text("digest") != str(subject):
            return
        yield {
            "mediaType": manifest.media_type,
            "digest": str(manifest.digest),
            "size": len(manifest.raw),
        } | _described(fields)
    except ImagerError:
        return  # an image with an invalid subject is still served


def _described(fields: Fields) -> dict[str, object]:
    config, annotations = fields.child("config"), fields.child("annotations")
    kind = fields.text("artifactType") or (config.text("mediaType") if config else "")
    described: dict[str, object] = {"artifactType": kind} if kind else {}
    return described | ({"annotations": dict(annotations.values)} if annotations else {})
