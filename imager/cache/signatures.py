"""Read an image's signatures and other referrers from its registry.

Clients such as cosign 3 request a registry's list of referrers. Talos's registry for the image
cache does not support this, so referrers are cached under the fallback tag `sha256-<hex>` (OCI
distribution specification 1.1, Referrers Tag Schema).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from imager.cache.readimage import ReadImage, whole_image
from imager.oci.digest import Digest
from imager.oci.endpoint import Endpoint
from imager.oci.errors import InvalidImageError
from imager.oci.manifest import Descriptor, Index, RawManifest, index_json
from imager.oci.reference import Reference
from imager.oci.signature import signature_tags
from imager.support.errors import DependencyError, ImagerError, InputError, UnsupportedError

if TYPE_CHECKING:
    from imager.oci.registry import RegistryClient
    from imager.oci.remote import RemoteImage


def read_signatures(
    reference: Reference,
    *,
    client: RegistryClient,
    host: Endpoint,
    signed: Digest,
    name: Reference,
) -> Iterator[ReadImage]:
    """Yield the signatures and referrers of the image `signed`, read from `host`.

    They are cached in the repository of the image `name`. Each of the two tags and the list is read
    completely or left out with a warning. What the client's pins leave out is not read. Raises
    DependencyError if the registry fails to answer for a tag.
    """
    pins = client.pins
    tags = (replace(reference, tag=tag, digest=None) for tag in signature_tags(signed))
    signature_tag, list_tag = tags
    signature, listed = client.image(signature_tag), client.image(list_tag)
    if not pins.leaves_out(signature_tag):
        yield _whole(name, signature, lambda: _tagged(signature, host, signed))
    if pins.leaves_out(list_tag):
        return
    found, refused = _referrers(listed, host, signed)
    entries = tuple(entry for entry in found if not pins.leaves_out(entry.digest))
    if refused is not None:
        yield ReadImage(warnings=(_left_out(refused),))
    yield _whole(
        name, listed, lambda: _with_referrers(_tagged(listed, host, signed), entries, listed)
    )


def _whole(
    name: Reference, image: RemoteImage, find: Callable[[], RawManifest | None]
) -> ReadImage:
    """Read everything `find` returns from the repository of `image`, or return only a warning."""
    try:
        root = find()
        if root is None:
            return ReadImage()
        parts = [root]
        if isinstance(root.document, Index):
            parts = [image.manifest(entry.digest) for entry in root.document.manifests]
        cached = replace(name, tag=image.reference.tag, digest=None)
        asked = replace(image.reference, digest=None)
        return replace(whole_image(cached, image, root=root, parts=parts), asked=asked)
    except (InputError, UnsupportedError) as error:
        return ReadImage(warnings=(_left_out(error),))


def _left_out(error: ImagerError) -> str:
    return f"signatures are left out: {error.message}"


def _tagged(image: RemoteImage, host: Endpoint, signed: Digest) -> RawManifest | None:
    root = image.find_at(host)
    # The tag may be an image's own digest.
    return None if root is None or root.digest == signed else root


def _referrers(
    image: RemoteImage, host: Endpoint, signed: Digest
) -> tuple[tuple[Descriptor, ...], ImagerError | None]:
    """Return the host's list of referrers, or the error of the request.

    The error is not raised, since a tag may exist nevertheless, and some registries fail on paths
    that they do not know.
    """
    try:
        return image.referrers(signed, host), None
    except (InputError, UnsupportedError, DependencyError) as error:
        return (), error


def _with_referrers(
    tagged: RawManifest | None, listed: Iterable[Descriptor], image: RemoteImage
) -> RawManifest | None:
    """Return the index of the tag, extended by listed referrers that it lacks.

    The registry's index is returned unchanged if it is complete. Otherwise a new index is built,
    which is the same for the same entries.
    """
    entries = {entry.digest: entry for entry in listed}
    if tagged is not None:
        if not isinstance(tagged.document, Index):
            if entries:
                raise InvalidImageError(
                    f"{image.reference} is not an index, so it cannot list its referrers"
                )
            return tagged
        known = {entry.digest: entry for entry in tagged.document.manifests}
        if entries.keys() <= known.keys():
            return tagged
        entries |= known
    if not entries:
        return None
    return RawManifest.parse(index_json(entries[digest] for digest in sorted(entries)))
