"""Machine configuration that makes Talos try a server before the registries themselves.

RegistriesConfig of v1alpha1, which every release with image caches accepts:
https://www.talos.dev/v1.9/reference/configuration/v1alpha1/config/#Config.machine.registries
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from imager.oci.endpoint import mirror_root
from imager.oci.reference import is_registry
from imager.support.errors import InputError

_ANY = "*"
DEFAULT_REGISTRIES = ("docker.io", "ghcr.io", "registry.k8s.io")


def checked_names(registries: Iterable[str]) -> list[str]:
    """Return the names of registries, sorted, once each; raises InputError for an invalid one."""
    names = sorted({*registries})
    for name in names:
        if not is_registry(name):
            raise InputError(f"{name[:200]!r} is not the name of a registry")
    return names


def mirrors_patch(registries: Iterable[str], *, url: str, ca: bytes | None) -> str:
    """Return the YAML patch for `registries` (host[:port]) and for all others.

    Talos tries the server at `url` first, then the registry itself, and trusts the certificates in
    `ca` (PEM) if the server uses TLS; nothing else of `ca` is copied to the patch. Raises
    InputError for an invalid registry, URL or certificate.
    """
    import yaml

    mirror_root(url)
    names = (_ANY, *checked_names(registries))
    found: dict[str, Any] = {"mirrors": {name: {"endpoints": [url.rstrip("/")]} for name in names}}
    if ca is not None and url.startswith("https:"):
        found["config"] = {urlsplit(url).netloc: {"tls": {"ca": _certificates(ca)}}}
    return yaml.safe_dump({"machine": {"registries": found}}, sort_keys=False)


def mirror_documents(registries: Iterable[str], *, urls: Sequence[str]) -> str:
    """Return the YAML documents that make `urls` mirrors of each of `registries`.

    They are the same as talosctl's, for Talos 1.12 and later. Raises InputError for an invalid
    registry.
    """
    import yaml

    documents = [
        {
            "apiVersion": "v1alpha1",
            "kind": "RegistryMirrorConfig",
            "name": name,
            "endpoints": [{"url": url.rstrip("/")} for url in urls],
        }
        for name in checked_names(registries)
    ]
    return yaml.safe_dump_all(documents, sort_keys=False)


def _certificates(ca: bytes) -> str:
    """Return the certificates in base64, Talos's encoding of bytes in YAML."""
    from imager.efi.certificates import certificates_in, pem

    found = certificates_in(ca, source="the CA of the server")
    return base64.b64encode(b"".join(map(pem, found))).decode("ascii")
