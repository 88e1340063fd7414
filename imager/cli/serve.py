"""`imager images cache-serve`: caches as a registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imager.cli.options import Progress, Quiet
from imager.reporter import ProgressStyle, make_reporter


def cache_serve(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH...", help="Caches, the first of which is asked first."),
    ] = None,
    *,
    image_cache_path: Annotated[
        list[Path] | None, typer.Option(help="The same as PATH. May be repeated.")
    ] = None,
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; :PORT is every address.")
    ] = "127.0.0.1:3172",
    tls_cert_file: Annotated[
        Path | None, typer.Option(help="Certificate chain in PEM: serve HTTPS.")
    ] = None,
    tls_key_file: Annotated[Path | None, typer.Option(help="Its private key in PEM.")] = None,
    tls_ca_file: Annotated[
        Path | None,
        typer.Option(
            help="CA certificates in PEM that clients are told to trust; default: the chain."
        ),
    ] = None,
    hosts_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder for containerd's hosts.toml files, such as /etc/containerd/certs.d."
        ),
    ] = None,
    mirrors_patch: Annotated[
        Path | None, typer.Option(help="File for the patch of Talos's machine configuration.")
    ] = None,
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REGISTRY",
            help="A registry to write of beside those of the images. May be repeated.",
        ),
    ] = None,
    advertise_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where clients reach the server; default: the address."),
    ] = None,
    client_timeout: Annotated[
        int,
        typer.Option(
            metavar="SECONDS", min=1, help="After which time a client that hangs is given up."
        ),
    ] = 60,
    quiet: Quiet = False,
    progress: Progress = ProgressStyle.AUTO,
) -> None:
    """Serve caches as a read-only registry, until it is told to end."""
    from imager.cli.serve_text import access_log
    from imager.errors import InputError
    from imager.server.address import Address
    from imager.server.clients import Announcement
    from imager.server.roots import FixedRoots
    from imager.server.serve import ServerTls, Service, Serving, run_service

    roots = (*(paths or ()), *(image_cache_path or ()))
    if not roots:
        raise InputError("there is no cache to serve", hint="give its path: cache-serve PATH")
    if (tls_cert_file is None) != (tls_key_file is None):
        raise InputError("--tls-cert-file and --tls-key-file belong together", hint="give both")
    tls = ServerTls(tls_cert_file, tls_key_file) if tls_cert_file and tls_key_file else None
    reporter = make_reporter(ProgressStyle.NONE if quiet else progress)
    announcement = Announcement(
        hosts_folder=hosts_dir,
        patch=mirrors_patch,
        registries=tuple(mirror or ()),
        url=advertise_url,
        ca_file=tls_ca_file or tls_cert_file,
    )
    listen_on = Address.parse(address)
    announcement.check(listen_on)

    def announce(serving: Serving) -> None:
        url = serving.address.url(tls=tls is not None)
        for path in announcement.write(serving.catalog.registries, url):
            reporter.step(f"wrote {path}")
        reporter.step(f"serving on {url}")

    run_service(
        Service(FixedRoots(roots), listen_on, tls, client_timeout),
        reporter=reporter,
        log=access_log(ProgressStyle.NONE if quiet else progress),
        announce=announce,
    )
