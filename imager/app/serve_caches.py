"""Serve image caches as a read-only registry, and write the configuration of its clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from imager.registry.address import Address
from imager.registry.announce import Announcement
from imager.registry.app import Exchange
from imager.registry.roots import FixedRoots
from imager.registry.serve import ServerTls, Service, Serving, run_service
from imager.support.errors import ImagerError
from imager.support.reporter import QUIET, Reporter
from imager.talos.constants import REGISTRY_ADDRESS


@dataclass(frozen=True, slots=True)
class ServeCaches:
    """Caches to serve at `address` (HOST:PORT), in order of precedence.

    A client that stalls for `client_timeout` seconds is disconnected.
    """

    paths: Sequence[Path]
    address: str = REGISTRY_ADDRESS
    tls: ServerTls | None = None
    announcement: Announcement = field(default_factory=Announcement)
    client_timeout: float = 60


def serve_caches(
    caches: ServeCaches,
    reporter: Reporter = QUIET,
    *,
    log: Callable[[Exchange], None] = lambda _: None,
) -> None:
    """Serve caches until SIGINT or SIGTERM; `log` is called after every request.

    Must run in the main thread. Raises InputError for invalid caches, certificates or output files,
    HostError if the address cannot be used.
    """
    address = Address.parse(caches.address)
    announcement = caches.announcement
    if address.port == 0:  # the port changes with every run
        announcement = replace(announcement, documents=None)
    announcement.check(address)
    run_service(
        Service(FixedRoots(tuple(caches.paths)), address, caches.tls, caches.client_timeout),
        reporter=reporter,
        log=log,
        announce=lambda serving: _announce(announcement, serving, reporter),
    )


def _announce(announcement: Announcement, serving: Serving, reporter: Reporter) -> None:
    tls = serving.service.tls is not None
    url, registries = serving.address.url(tls=tls), serving.catalog.registries
    for path in announcement.write(registries, url):
        reporter.step(f"wrote {path}")
    try:
        documents = announcement.write_documents(
            registries, serving.address.reachable_urls(tls=tls)
        )
    except ImagerError as error:  # the default file, not requested by an option
        reporter.warn(f"no patch for Talos was written: {error.message} (see --mirrors-patch)")
    else:
        if documents is not None:
            reporter.step(f"wrote {documents}")
    reporter.step(f"serving on {url}")
