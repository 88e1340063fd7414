"""Selects the key of an authentication file that applies to a repository.

Docker writes `HOST`, `https://HOST/v1/` and `https://index.docker.io/v1/`; podman writes `HOST` and
`HOST/PATH` for a part of a registry (containers-auth.json(5)); Kubernetes accepts all of these, and
`*` in host names (https://kubernetes.io/docs/concepts/containers/images/#config-json).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from imager.oci.reference import DOCKER_HUB, HUB_HOSTS

# Keys to ask credential helpers for; `docker login` uses the first one.
DOCKER_HUB_KEYS = (
    "https://index.docker.io/v1/",
    "index.docker.io",
    "registry-1.docker.io",
    DOCKER_HUB,
)
_SCHEME = re.compile(r"https?://", re.ASCII | re.IGNORECASE)
_API = re.compile(r"^v[12](?:/|$)", re.ASCII)


def best_key(keys: Iterable[str], registry: str, repository: str) -> tuple[str, str]:
    """Return the key that best matches a repository of `registry`, and the key's path.

    A longer path wins over a shorter one, and the exact name of the registry over a pattern; among
    several spellings of the same place the first one wins. Both are empty when no key matches. A
    key written as a URL also matches repositories outside its path, as docker ignores the path, but
    any better match wins over it.
    """
    matches = (_match(key, _host(registry), repository) for key in keys)
    best = max(filter(None, matches), key=lambda match: match[0], default=None)
    return best[1:] if best else ("", "")


def _match(key: str, registry: str, repository: str) -> tuple[tuple[int, bool], str, str] | None:
    """Return how well a key matches, larger being better, the key and its path; None if not."""
    scheme = _SCHEME.match(key)
    host, _, path = key[scheme.end() if scheme else 0 :].partition("/")
    host, path = _host(host), _API.sub("", path, count=1).strip("/")
    if not _same_host(host, registry):
        return None
    if not path or f"{repository}/".startswith(f"{path}/"):
        return (len(path), host == registry), key, path
    return ((-1, False), key, "") if scheme else None


def _host(name: str) -> str:
    host = name.lower().removesuffix(":443")
    return DOCKER_HUB if host in HUB_HOSTS else host


def _same_host(pattern: str, host: str) -> bool:
    if "*" not in pattern:
        return pattern == host
    parts, names = pattern.split("."), host.split(".")
    return len(parts) == len(names) and all(map(fnmatchcase, names, parts))
