"""What a registry of several caches has under which name: looked up, never searched for in files.

Caches are asked in order: of two that have a tag, the first one's counts. A request that names no
registry (`?ns=`) is for any that has the repository, also by its full name, `ghcr.io/a/b`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from imager.cache.cache import ImageCache
from imager.content.extents import Content
from imager.oci.digest import Digest
from imager.oci.manifest import RawManifest
from imager.oci.reference import DOCKER_HUB

_HUB_HOSTS = frozenset({"index.docker.io", "registry-1.docker.io"})
_LIBRARY = "library/"

# The manifests of a repository, by tag and by digest.
Repository = Mapping[str | Digest, RawManifest]


@dataclass(frozen=True, slots=True)
class Catalog:
    """The repositories of all caches, by registry and name, and the places of their blobs.

    A blob may lie in several caches; they are in the caches' order. `_by_any_name` has what is
    asked for without a registry.
    """

    repositories: Mapping[tuple[str, str], Repository]
    blobs: Mapping[Digest, tuple[Content, ...]]
    _by_any_name: Mapping[str, Repository]

    @classmethod
    def of(cls, caches: Iterable[ImageCache]) -> Catalog:
        """Return the catalog of `caches`, the first of which is asked first."""
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
        """The registries that the images are of."""
        return tuple(sorted({registry for registry, _ in self.repositories}))

    def repository(self, name: str, namespace: str | None) -> Repository | None:
        """Return the repository `name` of the registry `namespace`, else of any that has it."""
        if namespace is None:
            return self._by_any_name.get(name)
        registry = _registry(namespace)
        found = self.repositories.get((registry, name))
        if found is None and registry == DOCKER_HUB:
            return self.repositories.get((registry, f"{_LIBRARY}{name}"))
        return found

    def names(self, namespace: str | None) -> list[str]:
        """Return the names of all repositories, with their registry unless one is given."""
        if namespace is None:
            return sorted(map("/".join, self.repositories))
        registry = _registry(namespace)
        return sorted(name for each, name in self.repositories if each == registry)


def _registry(namespace: str) -> str:
    return DOCKER_HUB if namespace in _HUB_HOSTS else namespace


def _by_any_name(
    repositories: Mapping[tuple[str, str], Repository],
) -> Mapping[str, Repository]:
    """Return the repositories under all that they go by, those of the same name merged."""
    merged: dict[str, dict[str | Digest, RawManifest]] = {}
    for (registry, repository), manifests in repositories.items():
        for name in _names(registry, repository):
            found = merged.setdefault(name, {})
            for target, manifest in manifests.items():
                found.setdefault(target, manifest)
    return merged


def _names(registry: str, repository: str) -> Iterator[str]:
    yield repository
    yield f"{registry}/{repository}"
    # As people write the names of official images.
    if registry == DOCKER_HUB and repository.startswith(_LIBRARY):
        yield repository.removeprefix(_LIBRARY)
        yield f"{registry}/{repository.removeprefix(_LIBRARY)}"


def tags_of(repository: Repository) -> list[str]:
    """Return the tags of a repository in lexical order (distribution specification, 'tags')."""
    return sorted(target for target in repository if isinstance(target, str))
