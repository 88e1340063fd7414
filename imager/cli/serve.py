"""`imager images cache-serve`: caches as a registry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from imager.cli.options import Display
from imager.talos.constants import REGISTRY_ADDRESS


def cache_serve(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH...", help="Image caches, in the order of precedence."),
    ] = None,
    *,
    image_cache_path: Annotated[
        list[Path] | None, typer.Option(metavar="PATH", help="The same as PATH.")
    ] = None,
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; :PORT means all addresses.")
    ] = REGISTRY_ADDRESS,
    tls_cert_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM certificate chain: serve HTTPS.")
    ] = None,
    tls_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM private key of the certificate.")
    ] = None,
    tls_ca_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default="the chain",
            help="PEM CA certificates that clients are to trust.",
        ),
    ] = None,
    hosts_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder to write containerd's hosts.toml files to, such as "
            "/etc/containerd/certs.d.",
        ),
    ] = None,
    mirrors_patch: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default="image-cache-mirrors-patch.yaml",
            help="File to write a patch for all Talos releases to. The default is talosctl's "
            "patch, for Talos 1.12 and later.",
        ),
    ] = None,
    no_mirrors_patch: Annotated[
        bool, typer.Option("--no-mirrors-patch", help="Write no patch for Talos.")
    ] = False,
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REGISTRY",
            help="Also write a mirror for this registry, beside those of the images; in the "
            "default patch also docker.io, ghcr.io and registry.k8s.io if none is given.",
        ),
    ] = None,
    advertise_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", show_default="the address", help="URL at which clients reach the server."
        ),
    ] = None,
    client_timeout: Annotated[
        int,
        typer.Option(
            metavar="SECONDS", min=1, help="Disconnect a stalled client after this many seconds."
        ),
    ] = 60,
    display: Display,
) -> None:
    """Serve caches as a read-only registry, until a signal ends it."""
    from imager.cli.serve_text import access_log
    from imager.registry.address import Address
    from imager.registry.announce import Announcement
    from imager.registry.patchfiles import MIRRORS
    from imager.registry.roots import FixedRoots
    from imager.registry.serve import ServerTls, Service, Serving, run_service
    from imager.support.errors import ImagerError, InputError

    roots = (*(paths or ()), *(image_cache_path or ()))
    if not roots:
        raise InputError(
            "there is no cache to serve", hint="give its path: `imager images cache-serve PATH`"
        )
    if (tls_cert_file is None) != (tls_key_file is None):
        raise InputError("--tls-cert-file and --tls-key-file belong together", hint="give both")
    tls = ServerTls(tls_cert_file, tls_key_file) if tls_cert_file and tls_key_file else None
    reporter = display.reporter()
    announcement = Announcement(
        hosts_folder=hosts_dir,
        patch=mirrors_patch,
        documents=None if mirrors_patch or no_mirrors_patch else MIRRORS,
        registries=tuple(mirror or ()),
        url=advertise_url,
        ca_file=tls_ca_file or tls_cert_file,
    )
    listen_on = Address.parse(address)
    if listen_on.port == 0:  # which is another one in the next run
        announcement = replace(announcement, documents=None)
    announcement.check(listen_on)

    def announce(serving: Serving) -> None:
        url = serving.address.url(tls=tls is not None)
        for path in announcement.write(serving.catalog.registries, url):
            reporter.step(f"wrote {path}")
        try:
            documents = announcement.write_documents(
                serving.catalog.registries, serving.address.reachable_urls(tls=tls is not None)
            )
        except ImagerError as error:  # it was not asked for
            reporter.warn(f"no patch for Talos is written: {error.message} (see --mirrors-patch)")
        else:
            if documents is not None:
                reporter.step(f"wrote {documents}")
        reporter.step(f"serving on {url}")

    run_service(
        Service(FixedRoots(roots), listen_on, tls, client_timeout),
        reporter=reporter,
        log=access_log(display.style),
        announce=announce,
    )
