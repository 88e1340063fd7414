"""The contents of a registry of several caches, indexed by name.

Caches are searched in order: if two have the same tag, the first one wins. A request without a
registry (`?ns=`) matches any registry that has the repository, also by its full name,
`ghcr.io/a/b`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from imager.cache.cache import ImageCache
from imager.content.extents import Content
from imager.oci.digest import Digest
from imager.oci.manifest import RawManifest
from imager.oci.reference import DOCKER_HUB, HUB_HOSTS

_LIBRARY = "library/"

# The manifests of a repository, by tag and by digest.
Repository = Mapping[str | Digest, RawManifest]


@dataclass(frozen=True, slots=True)
class Catalog:
    """The repositories of all caches, by registry and name, and the locations of their blobs.

    A blob may be in several caches; its locations are in the caches' order. `_by_any_name` serves
    requests without a registry.
    """

    repositories: Mapping[tuple[str, str], Repository]
    blobs: Mapping[Digest, tuple[Content, ...]]
    _by_any_name: Mapping[str, Repository]

    @classmethod
    def of(cls, caches: Iterable[ImageCache]) -> Catalog:
        """Build the catalog of `caches`, in order of precedence."""
        repositories: dict[tuple[str, str], dict[str | Digest, RawManifest]] = {}
        blobs: dict[Digest, tuple[Content, ...]] = {}
        for cache in caches:
            for reference, manifest in cache.manifests.items():
                key = (reference.registry, reference.repository)
                repositories.setdefault(key, {}).setdefault(reference.target, manifest)
            for digest, file in cache.blobs.items():
                blobs[digest] = (*blobs.get(digest, ()), file.content)
        return cls(repositories, blobs, _by_any_name(repositories))

    @property
    def registries(self) -> tuple[str, ...]:
        """The registries of the images."""
        return tuple(sorted({registry for registry, _ in self.repositories}))

    def repository(self, name: str, namespace: str | None) -> Repository | None:
        """Return the repository `name` of the registry `namespace`, else of any registry."""
        if namespace is None:
            return self._by_any_name.get(name)
        registry = _registry(namespace)
        found = self.repositories.get((registry, name))
        if found is None and registry == DOCKER_HUB:
            return self.repositories.get((registry, f"{_LIBRARY}{name}"))
        return found

    def names(self, namespace: str | None) -> list[str]:
        """Return the names of all repositories, prefixed by the registry unless one is given."""
        if namespace is None:
            return sorted(map("/".join, self.repositories))
        registry = _registry(namespace)
        return sorted(name for each, name in self.repositories if each == registry)


def _registry(namespace: str) -> str:
    return DOCKER_HUB if namespace in HUB_HOSTS else namespace


def _by_any_name(
    repositories: Mapping[tuple[str, str], Repository],
) -> Mapping[str, Repository]:
    """Return the repositories by all of their names, merging those with the same name."""
    merged: dict[str, dict[str | Digest, RawManifest]] = {}
    for (registry, repository), manifests in repositories.items():
        for name in _names(registry, repository):
            merged[name] = {**manifests, **merged.get(name, {})}
    return merged


def _names(registry: str, repository: str) -> Iterator[str]:
    yield repository
    yield f"{registry}/{repository}"
    # The short names of official images.
    if registry == DOCKER_HUB and repository.startswith(_LIBRARY):
        yield repository.removeprefix(_LIBRARY)
        yield f"{registry}/{repository.removeprefix(_LIBRARY)}"


def tags_of(repository: Repository) -> list[str]:
    """Return the tags of a repository in lexical order (distribution specification, 'tags')."""
    return sorted(target for target in repository if isinstance(target, str))
