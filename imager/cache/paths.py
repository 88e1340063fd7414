"""Build and parse the paths of an image cache's tree, as defined by Talos.

    blob/sha256-<hex>                                   configs and layers
    manifests/<registry>/<repository>/reference/<tag>   the manifest or index of a tag
    manifests/<registry>/<repository>/digest/sha256-<hex>

A registry's port is written `_5000_`, since vfat does not allow colons in names. A repository has
the folder `reference` even if it is empty, since Talos's server requires it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from imager.content.tree import File, Tree, parent
from imager.oci.digest import Digest
from imager.oci.reference import Reference
from imager.support.errors import ImagerError, UnsupportedError

_MANIFESTS, _REFERENCE = "manifests", "reference"
_PORT = re.compile(r"(.+)_([0-9]{1,5})_", re.ASCII)


def blob_path(digest: Digest) -> str:
    """Return the path of a blob in the tree."""
    return f"blob/{digest.file_name}"


def manifest_path(reference: Reference) -> str:
    """Return the path of the manifest of `reference`, by digest if it has one, else by tag.

    Raises UnsupportedError for a registry with an IPv6 address, which vfat cannot represent.
    """
    if reference.registry.startswith("["):
        raise UnsupportedError(
            f"{reference}: an image cache cannot store a registry with an IPv6 address",
            hint="use a host name for the registry",
        )
    registry = re.sub(r":([0-9]+)$", r"_\1_", reference.registry)
    folder = f"{_MANIFESTS}/{registry}/{reference.repository}"
    if reference.digest is not None:
        return f"{folder}/digest/{reference.digest.file_name}"
    return f"{folder}/{_REFERENCE}/{reference.tag}"


def cache_tree(files: Iterable[File]) -> Tree:
    """Return the tree of a cache of `files`, in this order, with the required folders."""
    tree = Tree.of(files)
    references = (
        f"{parent(folder)}/{_REFERENCE}"
        for folder in {parent(file.path) for file in tree.files}
        if folder.partition("/")[0] == _MANIFESTS
    )
    return Tree.of(tree.files, sorted({*tree.folders, *references}))


def parse_path(path: str) -> Digest | Reference | None:
    """Return the digest of the blob, or the reference of the manifest, that is at `path`.

    Returns None if the path is not part of an image cache.
    """
    kind, _, rest = path.partition("/")
    try:
        if kind == "blob":
            digest = _digest(rest)
            return digest if blob_path(digest) == path else None
        reference = _reference(rest)
        return reference if manifest_path(reference) == path else None
    except ImagerError:
        return None


def _digest(name: str) -> Digest:
    return Digest.parse(name.replace("-", ":", 1))


def _reference(path: str) -> Reference:
    registry, _, rest = path.partition("/")
    repository, kind, name = rest.rsplit("/", 2) if rest.count("/") >= 2 else ("", "", "")
    port = _PORT.fullmatch(registry)
    domain = f"{port[1]}:{port[2]}" if port else registry
    match kind:
        case "reference":
            return Reference.parse_strict(f"{domain}/{repository}:{name}")
        case "digest":
            return Reference.parse_strict(f"{domain}/{repository}@{_digest(name)}")
        case _:
            return Reference.parse_strict("")
