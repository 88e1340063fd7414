"""Puts manifests into a registry, and lists those that refer to another one.

OCI distribution specification 1.1, Pushing Manifests with Subject: a registry with the referrers
API confirms the subject in its answer; for any other one, the client maintains the list as an index
under a tag made of the subject's digest.
https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests-with-subject
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from imager.oci.client import Request
from imager.oci.digest import Digest
from imager.oci.documents import Fields, dump_json, load_fields
from imager.oci.errors import InvalidImageError, NotFoundError, RegistryFailedError
from imager.oci.manifest import OCI_INDEX, Descriptor, Index, RawManifest, parse_platform
from imager.oci.platform import Platform
from imager.oci.reference import Reference
from imager.oci.referrers import referrer_entry
from imager.oci.registry import RegistryClient
from imager.oci.retry import insist
from imager.oci.upload import PASSING, Target


def put_manifest(target: Target, manifest: RawManifest, name: str | Digest) -> bool:
    """Put a manifest under a tag or its digest; return whether the registry lists its subject.

    Raises DependencyError when the registry changes the manifest, and as RegistryClient.request.
    """
    asked = Request(
        "PUT",
        f"manifests/{name}",
        headers={"Content-Type": manifest.media_type},
        body=manifest.raw,
        accepted=(200, 201, 202),
    )

    def put() -> tuple[str, bool]:
        with target.client.request(target.reference, asked) as response:
            headers = response.headers
            return headers.get("Docker-Content-Digest", ""), "OCI-Subject" in headers

    stated, listed = insist(put, target.client.patience, passing=PASSING)
    if manifest.digest.contradicts(stated):
        raise RegistryFailedError(
            f"{target.reference.registry} changed the manifest {manifest.digest} to {stated}",
            hint="the registry or a proxy modifies images: clients could not pull this one",
        )
    return listed


def attach(target: Target, subject: Digest, manifests: Iterable[RawManifest]) -> None:
    """Put manifests whose subject is `subject`, and list them where the registry does not.

    Raises as `put_manifest` and `extended_index`.
    """
    unlisted = [each for each in manifests if not put_manifest(target, each, each.digest)]
    if unlisted:
        tag = subject.file_name
        index = tagged_index(target.client, replace(target.reference, tag=tag, digest=None))
        entries = [referrer_entry(each) for each in unlisted]
        put_manifest(target, extended_index(index, entries), tag)


def tagged_index(client: RegistryClient, reference: Reference) -> RawManifest | None:
    """Return what the registry itself has under the tag of `reference`; None if it has nothing.

    Raises InputError if that is not an index, and as RemoteImage.root.
    """
    try:
        found = client.image(reference).find_at(client.endpoints(reference.registry)[-1])
    except NotFoundError:
        return None
    if found is not None and not isinstance(found.document, Index):
        raise InvalidImageError(
            f"{reference} is not an index, so nothing can be added to it",
            hint="choose another tag, or remove this one from the registry",
        )
    return found


def extended_index(
    index: RawManifest | None,
    entries: Iterable[Descriptor],
    *,
    platform: Platform | None = None,
) -> RawManifest:
    """Return an index with `entries` added, in place of any for `platform`.

    Its other entries and fields are kept as they are, also of media types that are not known here.
    """
    fields = load_fields(index.raw, where="index") if index else _EMPTY_INDEX
    added = {str(entry.digest): entry.to_json() for entry in entries}
    kept = [
        each.values
        for each in fields.children("manifests")
        if each.text("digest") not in added and not _is_for(each, platform)
    ]
    manifests = [*kept, *added.values()]
    return RawManifest.parse(dump_json({**fields.values, "manifests": manifests}))


_EMPTY_INDEX = Fields({"schemaVersion": 2, "mediaType": OCI_INDEX}, "index")


def _is_for(entry: Fields, platform: Platform | None) -> bool:
    found = parse_platform(entry.child("platform"))
    return platform is not None and found is not None and found.matches(platform)
