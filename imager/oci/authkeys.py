"""Which key of an authentication file is for a repository.

Docker writes `HOST`, `https://HOST/v1/` and `https://index.docker.io/v1/`; podman writes `HOST` and
`HOST/PATH` for a part of a registry (containers-auth.json(5)); Kubernetes takes all of these, and
`*` in host names (https://kubernetes.io/docs/concepts/containers/images/#config-json).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from imager.oci.reference import DOCKER_HUB

# What credential helpers are asked for; the first one is what `docker login` uses.
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
    """What a key stands for: a host pattern, and a path below it."""

    host: str
    path: str

    def rank(self, registry: str, repository: str) -> tuple[int, int] | None:
        """Return how well this fits a repository, None when it does not; larger is better."""
        below = not self.path or f"{repository}/".startswith(f"{self.path}/")
        if not below or not _same_host(self.host, registry):
            return None
        return len(self.path), self.host == registry


def best_key(keys: Iterable[str], registry: str, repository: str) -> tuple[str, str]:
    """Return the key that fits a repository of `registry` best, and the path that it is for.

    A longer path goes before a shorter one, the very name of the registry before a pattern, and of
    several spellings of one place the first one counts. Both are empty when no key fits. A path
    behind a scheme, which docker ignores, limits a key only where another key fits better.
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
    """Return what a key stands for, and whether it is a URL."""
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
