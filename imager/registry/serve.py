"""Runs a registry of caches: opens and serves them, reloads them after changes, and shuts down."""

from __future__ import annotations

import asyncio
import signal
import ssl
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from imager.efi.errors import InvalidKeyError
from imager.registry.address import Address
from imager.registry.app import Exchange, RegistryApp
from imager.registry.blobs import Blobs
from imager.registry.catalog import Catalog
from imager.registry.listener import listening
from imager.registry.notify import notify
from imager.registry.roots import Root, RootSource
from imager.registry.transfer import running
from imager.support.errors import ImagerError
from imager.support.reporter import Reporter
from imager.support.units import count

_HASHERS = 2
_POLL = 2.0
_LONGEST_POLL = 15.0
# Poll interval in seconds until the roots are settled.
_UNSETTLED_POLL = 0.5
# Polling and reloading take at most this share of the time.
_POLL_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Service:
    """What to serve, the address, and the timeout of stalled clients in seconds."""

    roots: RootSource
    address: Address
    tls: ServerTls | None = None
    patience: float = 60


@dataclass(frozen=True, slots=True)
class Serving:
    """A registry that accepts requests at `address`, with its actual port."""

    service: Service
    address: Address
    catalog: Catalog


@dataclass(frozen=True, slots=True)
class ServerTls:
    """The server's certificate chain and its private key, in PEM."""

    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Create the TLS context; raises InputError when the files cannot be used."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_passphrase)
        except (OSError, ValueError) as error:
            # The error does not include the path.
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise InvalidKeyError(
                f"cannot serve TLS with {self.certificate} and {self.key}: {reason}",
                hint="`imager images cache-cert-gen` creates a matching pair",
            ) from error
        return context


def _no_passphrase() -> str:
    raise ValueError("the key is encrypted, which is not supported")


def run_service(
    service: Service,
    *,
    reporter: Reporter,
    log: Callable[[Exchange], None],
    announce: Callable[[Serving], None],
) -> None:
    """Serve until SIGINT or SIGTERM, then drain responses for up to 10 seconds.

    `announce` is called when requests are accepted, before systemd is notified, and after changes
    of the caches; `log` after every request. SIGHUP checks for changes at once. Raises InputError
    for caches or files that cannot be used, HostError when it cannot listen on the address.
    """
    roots = service.roots.open()
    asyncio.run(_serve(service, roots, reporter, log, announce))


async def _serve(
    service: Service,
    roots: tuple[Root, ...],
    reporter: Reporter,
    log: Callable[[Exchange], None],
    announce: Callable[[Serving], None],
) -> None:
    stop, look = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, look.set)
    for root in roots:
        _tell(root, reporter)
    with ThreadPoolExecutor(_HASHERS, "digest") as pool:
        app = RegistryApp(_catalog(roots), Blobs(pool), log, patience=service.patience)
        context = service.tls.context() if service.tls else None
        server = listening(
            app.handle, service.address, tls=context, patience=service.patience, reporter=reporter
        )
        async with server as address:

            def announce_catalog() -> None:
                announce(Serving(service, address, app.catalog))

            announce_catalog()
            watch = _Watch(service.roots, app, reporter, announce_catalog)
            async with running(watch.run(roots, look)):
                await stop.wait()
                service.roots.close()
            notify("STOPPING=1")
            reporter.step("shutting down")


@dataclass(frozen=True, slots=True)
class _Watch:
    """Keeps the app's catalog current, and notifies systemd when the roots are settled."""

    source: RootSource
    app: RegistryApp
    reporter: Reporter
    announce: Callable[[], None]

    async def run(self, roots: tuple[Root, ...], look: asyncio.Event) -> None:
        while not self.source.settled:
            await _paused(look, _UNSETTLED_POLL)
            roots = await self._look(roots)
        notify("READY=1", _status(self.app.catalog))
        pause = _POLL
        while True:
            await _paused(look, pause)
            started = time.monotonic()
            roots = await self._look(roots)
            pause = (time.monotonic() - started) / _POLL_SHARE
            pause = min(max(_POLL, pause), _LONGEST_POLL)

    async def _look(self, roots: tuple[Root, ...]) -> tuple[Root, ...]:
        try:
            found = await asyncio.to_thread(self.source.renew, roots)
        except (ImagerError, OSError) as error:  # the next attempt may succeed
            self.reporter.warn(str(error))
            return roots
        if found != roots:
            self.app.replace(await asyncio.to_thread(_catalog, found))
            notify(_status(self.app.catalog))
            for root in found:
                if root not in roots:
                    _tell(root, self.reporter)
            try:
                self.announce()
            except ImagerError as error:
                self.reporter.warn(error.message)
        return found


async def _paused(look: asyncio.Event, seconds: float) -> None:
    """Wait for `seconds`, or until a check is requested."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await look.wait()
    look.clear()


def _catalog(roots: Sequence[Root]) -> Catalog:
    return Catalog.of(root.cache for root in roots if root.cache is not None)


def _status(catalog: Catalog) -> str:
    return f"STATUS=serving {count(len(catalog.blobs), 'blob')}"


def _tell(root: Root, reporter: Reporter) -> None:
    for problem in root.problems:
        reporter.warn(problem.message + (f" ({problem.hint})" if problem.hint else ""))
    if root.cache is not None:
        reporter.step(f"{root.path}: {count(len(root.cache.images), 'image')}")
