"""Selects the key of an authentication file that applies to a repository.

Docker writes `HOST`, `https://HOST/v1/` and `https://index.docker.io/v1/`; podman writes `HOST` and
`HOST/PATH` for a part of a registry (containers-auth.json(5)); Kubernetes accepts all of these, and
`*` in host names (https://kubernetes.io/docs/concepts/containers/images/#config-json).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from imager.oci.reference import DOCKER_HUB

# Keys to ask credential helpers for; `docker login` uses the first one.
DOCKER_HUB_KEYS = (
    "https://index.docker.io/v1/",
    "index.docker.io",
    "registry-1.docker.io",
    DOCKER_HUB,
)
_HUB_HOSTS = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io"})
_SCHEME = re.compile(r"https?://", re.ASCII | re.IGNORECASE)
_API = re.compile(r"v[12](?:/|$)", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Place:
    """A parsed key: a host pattern and a path below it."""

    host: str
    path: str

    def rank(self, registry: str, repository: str) -> tuple[int, int] | None:
        """Return how well the key matches a repository, larger being better; None for no match."""
        below = not self.path or f"{repository}/".startswith(f"{self.path}/")
        if not below or not _same_host(self.host, registry):
            return None
        return len(self.path), self.host == registry


def best_key(keys: Iterable[str], registry: str, repository: str) -> tuple[str, str]:
    """Return the key that best matches a repository of `registry`, and the key's path.

    A longer path wins over a shorter one, and the exact name of the registry over a pattern; among
    several spellings of the same place the first one wins. Both are empty when no key matches. A
    key written as a URL also matches repositories outside its path, as docker ignores the path, but
    any better match wins over it.
    """
    wanted = _host(registry)
    best: tuple[tuple[int, int, int], str, str] | None = None
    for key in keys:
        place, whole = _place(key)
        rank = place.rank(wanted, repository)
        found = (
            (1, *rank) if rank else (0, 0, 0) if whole and _same_host(place.host, wanted) else None
        )
        if found and (best is None or found > best[0]):
            best = (found, key, place.path if rank else "")
    return best[1:] if best else ("", "")


def _place(key: str) -> tuple[_Place, bool]:
    """Parse a key, and return whether it is a URL."""
    scheme = _SCHEME.match(key)
    host, _, path = key[scheme.end() if scheme else 0 :].partition("/")
    path = _API.sub("", path, count=1) if _API.match(path) else path
    return _Place(_host(host), path.strip("/")), scheme is not None


def _host(name: str) -> str:
    host = name.lower().removesuffix(":443")
    return DOCKER_HUB if host in _HUB_HOSTS else host


def _same_host(pattern: str, host: str) -> bool:
    if "*" not in pattern:
        return pattern == host
    parts, names = pattern.split("."), host.split(".")
    return len(parts) == len(names) and all(map(fnmatchcase, names, parts))
