"""`imager images cache-serve`: serve caches as a registry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from imager.cli.declare import argument, flag, option
from imager.cli.options import Display
from imager.support.errors import InputError
from imager.talos.constants import REGISTRY_ADDRESS

if TYPE_CHECKING:
    from imager.registry.announce import Announcement
    from imager.registry.serve import ServerTls


@dataclass(frozen=True, slots=True)
class Tls:
    """The options for certificates."""

    tls_cert_file: Annotated[Path | None, option("FILE", "PEM certificate chain: serve HTTPS.")] = (
        None
    )
    tls_key_file: Annotated[Path | None, option("FILE", "PEM private key of the certificate.")] = (
        None
    )
    tls_ca_file: Annotated[
        Path | None,
        option("FILE", "PEM CA certificates that clients are to trust.", default="the chain"),
    ] = None

    def server(self) -> ServerTls | None:
        """Return the TLS settings; raises InputError for a certificate or key without the other."""
        from imager.registry.serve import ServerTls

        if self.tls_cert_file and self.tls_key_file:
            return ServerTls(self.tls_cert_file, self.tls_key_file)
        if self.tls_cert_file or self.tls_key_file:
            raise InputError(
                "--tls-cert-file and --tls-key-file must be given together", hint="give both"
            )
        return None


@dataclass(frozen=True, slots=True)
class Clients:
    """The options for client configuration files."""

    hosts_dir: Annotated[
        Path | None,
        option(
            "FOLDER",
            "Folder to write containerd's hosts.toml files to, such as /etc/containerd/certs.d.",
        ),
    ] = None
    mirrors_patch: Annotated[
        Path | None,
        option(
            "FILE",
            "Write a patch for all Talos releases to this file. The default file is talosctl's "
            "patch, for Talos 1.12 and later.",
            default="image-cache-mirrors-patch.yaml",
        ),
    ] = None
    no_mirrors_patch: Annotated[bool, flag("--no-mirrors-patch", "Write no patch for Talos.")] = (
        False
    )
    mirror: Annotated[
        list[str] | None,
        option(
            "REGISTRY",
            "Also write a mirror for this registry, in addition to those of the cached images. "
            "Without it, the default patch also has docker.io, ghcr.io and registry.k8s.io.",
        ),
    ] = None
    advertise_url: Annotated[
        str | None, option("URL", "URL at which clients reach the server.", default="the address")
    ] = None

    def announcement(self, tls: Tls) -> Announcement:
        """Return the settings of the client configuration files."""
        from imager.registry.announce import Announcement
        from imager.registry.patchfiles import MIRRORS

        return Announcement(
            hosts_folder=self.hosts_dir,
            patch=self.mirrors_patch,
            documents=None if self.mirrors_patch or self.no_mirrors_patch else MIRRORS,
            registries=tuple(self.mirror or ()),
            url=self.advertise_url,
            ca_file=tls.tls_ca_file or tls.tls_cert_file,
        )


def cache_serve(
    paths: Annotated[
        list[Path] | None, argument("PATH...", "Image caches, in order of precedence.")
    ] = None,
    *,
    image_cache_path: Annotated[list[Path] | None, option("PATH", "The same as PATH.")] = None,
    address: Annotated[
        str, option("HOST:PORT", "Address to listen on; :PORT means all addresses.")
    ] = REGISTRY_ADDRESS,
    tls: Tls,
    clients: Clients,
    client_timeout: Annotated[
        int, option("SECONDS", "Disconnect a stalled client after this many seconds.", min=1)
    ] = 60,
    display: Display,
) -> None:
    """Serve caches as a read-only registry until SIGINT or SIGTERM."""
    from imager.app.serve_caches import ServeCaches, serve_caches
    from imager.cli.serve_text import access_log

    roots = (*(paths or ()), *(image_cache_path or ()))
    if not roots:
        raise InputError(
            "there is no cache to serve", hint="give its path: `imager images cache-serve PATH`"
        )
    caches = ServeCaches(roots, address, tls.server(), clients.announcement(tls), client_timeout)
    serve_caches(caches, display.reporter(), log=access_log(display.style))
