"""The hosts that serve the images of a registry: the registry itself and its mirrors."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote, urlsplit

from imager.oci.errors import InvalidRegistrySettingsError
from imager.oci.reference import DOCKER_HUB, Reference, is_registry
from imager.oci.rewrite import Rewrite, rewritten
from imager.oci.tls import DEFAULT_TLS, ClientCertificate, TlsSettings
from imager.oci.transport import follow

_HUB_HOST = "registry-1.docker.io"
_API = "/v2"


class Capability(enum.Enum):
    """The operations that a host supports; the values are those of containerd's hosts.toml."""

    PULL = "pull"
    RESOLVE = "resolve"
    PUSH = "push"
    REFERRERS = "referrers"


@dataclass(frozen=True, slots=True)
class HostConfig:
    """How to reach one host for images of a registry; `root` "" is the registry's own API."""

    root: str = ""
    capabilities: frozenset[Capability] = frozenset(Capability)
    tls: TlsSettings = DEFAULT_TLS
    headers: tuple[tuple[str, str], ...] = ()
    rewrites: tuple[Rewrite, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host that serves the registry called `registry`: the registry itself or a mirror.

    `host` (host[:port]) is the name to look up credentials by. `roots` are URLs of its API, without
    a trailing slash; the first one whose scheme the host supports is used.
    """

    registry: str
    host: str
    roots: tuple[str, ...]
    config: HostConfig

    def url(self, root: str, repository: str, path: str) -> str:
        """Return the URL of `path` (`manifests/...`, `blobs/...`) of a repository below `root`.

        Requests to a mirror carry the registry's name as `ns`, as containerd's do. A URL given by a
        registry is returned unchanged; raises DependencyError when its scheme is not HTTP or HTTPS.
        """
        if "://" in path:
            return follow(root, path)
        url = f"{root}/{rewritten(repository, self.config.rewrites)}/{path}"
        if self.host == self.registry:
            return url
        return f"{url}{'&' if '?' in path else '?'}ns={quote(self.registry, safe='')}"

    def local(self, reference: Reference) -> Reference:
        """Return the host's own name for `reference`: a path below /v2/ joins the repository."""
        path = urlsplit(self.roots[0]).path
        prefix = "" if path.endswith(_API) else path.partition(f"{_API}/")[2]
        repository = rewritten(reference.repository, self.config.rewrites)
        return replace(
            reference,
            registry=self.host,
            repository=f"{prefix}/{repository}" if prefix else repository,
        )


_ITSELF = (HostConfig(),)


@dataclass(frozen=True, slots=True)
class Hosts:
    """The hosts for the images of each registry, and their settings.

    For each registry the order is: `mirrors`; then the hosts in `folders` (containerd's certs.d:
    folder name to hosts, the last of which is the registry itself), or else the registry. `tls`
    applies to all hosts, `client_certificates` to the hosts named. `insecure` allows plain HTTP
    where a registry has no TLS; registries on loopback addresses may always use plain HTTP.
    """

    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folders: Mapping[str, tuple[HostConfig, ...]] = field(default_factory=dict)
    tls: TlsSettings = DEFAULT_TLS
    client_certificates: Mapping[str, ClientCertificate] = field(default_factory=dict)
    insecure: bool = False

    def with_insecure(self) -> Hosts:
        """Return these hosts with plain HTTP allowed and certificate checks disabled."""
        return replace(self, tls=replace(self.tls, verify=False), insecure=True)

    def endpoints(self, registry: str) -> tuple[Endpoint, ...]:
        """Return the hosts to try for `registry`, in order; the registry itself is last."""
        mirrors = tuple(HostConfig(root) for root in self.mirrors.get(registry, ()))
        names = (hosts_folder(registry), registry, "_default")
        listed = next((self.folders[name] for name in names if name in self.folders), _ITSELF)
        return tuple(self._endpoint(registry, config) for config in mirrors + listed)

    def _endpoint(self, registry: str, config: HostConfig) -> Endpoint:
        host = urlsplit(config.root).netloc if config.root else registry
        if (registry, host) == (DOCKER_HUB, _HUB_HOST):
            host = DOCKER_HUB
        certificate = self.client_certificates.get(host)
        own = TlsSettings(client_certificates=(certificate,) if certificate else ())
        roots = (config.root,) if config.root else self._own_roots(registry)
        return Endpoint(registry, host, roots, replace(config, tls=self.tls | config.tls | own))

    def _own_roots(self, registry: str) -> tuple[str, ...]:
        schemes = ["https"]
        if is_loopback(registry):
            schemes = ["http", "https"]
        elif self.insecure:
            schemes = ["https", "http"]
        host = registry_host(registry)
        return tuple(f"{scheme}://{host}{_API}" for scheme in schemes)


def mirror_root(url: str) -> str:
    """Return the root of a mirror's API: `url` with its path, or with /v2 if it has no path.

    Raises InputError when it is not the URL of a host.
    """
    base, path = _split(url)
    return base + (path or _API)


def host_root(url: str, *, override_path: bool) -> str:
    """Return the root of the API at a host of hosts.toml, adding /v2 unless the path ends with it.

    `override_path` leaves the path unchanged. A URL without a scheme uses https. Raises InputError
    when it is not the URL of a host.
    """
    base, path = _split(url if "://" in url else f"https://{url}")
    return base + (path if override_path or path.endswith(_API) else path + _API)


def _split(url: str) -> tuple[str, str]:
    """Split a URL into its scheme with the host, and its path without a trailing slash."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InvalidRegistrySettingsError(f"{url[:200]!r} is not a URL: {error}") from error
    plain = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not is_registry(parts.netloc) or not plain:
        raise InvalidRegistrySettingsError(
            f"{url[:200]!r} is not the URL of a registry", hint="write it as https://host[:port]"
        )
    if parts.query or parts.fragment:
        raise InvalidRegistrySettingsError(
            f"{url[:200]!r}: the URL of a registry must not have a query or fragment"
        )
    return f"{parts.scheme}://{registry_host(parts.netloc)}", parts.path.rstrip("/")


def api_base(root: str) -> str:
    """Return the URL that a registry must answer, to detect one: `/v2/`, or its own root."""
    parts = urlsplit(root)
    base = f"{_API}/" if f"{parts.path}/".startswith(f"{_API}/") else f"{parts.path}/"
    return parts._replace(path=base).geturl()


def registry_host(registry: str) -> str:
    """Return the host that serves `registry`: its own name, except for Docker Hub."""
    return _HUB_HOST if registry == DOCKER_HUB else registry


def hosts_folder(registry: str) -> str:
    """Return the folder name under which containerd first looks for a registry's hosts.toml.

    A port is written `_5000_`, on all systems.
    """
    host, colon, port = registry.rpartition(":")
    return f"{host}_{port}_" if colon and port.isdigit() else registry


def is_loopback(registry: str) -> bool:
    """Return whether `registry` is on this machine and may use plain HTTP."""
    name = urlsplit(f"//{registry}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
