"""Whom to trust, and as whom to appear, on TLS connections to registries."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from urllib3.util import create_urllib3_context

from imager.support.errors import ImagerError, InputError, is_denied


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate in PEM, and its key: in the same file when `key` is None."""

    certificate: Path
    key: Path | None = None

    def load_into(self, context: ssl.SSLContext) -> None:
        """Let `context` appear with this certificate; raises InputError when it cannot."""
        with _explained(
            f"client certificate {self.certificate}",
            "a certificate and its key in PEM, without a password",
        ):
            # Without a password, OpenSSL would ask the terminal for one.
            context.load_cert_chain(self.certificate, self.key, password="")


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """How to talk to some host: `ca_files` (PEM) are trusted beside the system's certificates.

    `verify=False` takes any certificate of the other side.
    """

    verify: bool = True
    ca_files: tuple[Path, ...] = ()
    client_certificates: tuple[ClientCertificate, ...] = ()

    def __or__(self, other: TlsSettings) -> TlsSettings:
        """Return what both say: verified only when both are."""
        return TlsSettings(
            verify=self.verify and other.verify,
            ca_files=self.ca_files + other.ca_files,
            client_certificates=self.client_certificates + other.client_certificates,
        )

    def context(self) -> ssl.SSLContext:
        """Return a new context for connections; raises InputError when a file is not valid."""
        context = create_urllib3_context()
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.load_default_certs()
        for path in self.ca_files:
            _trust(context, path)
        for certificate in self.client_certificates:
            certificate.load_into(context)
        return context

    def problems(self) -> list[str]:
        """Return what is wrong with the files, one message each."""
        context = create_urllib3_context()
        found: list[str] = []
        for path in self.ca_files:
            with _collected(found):
                _trust(context, path)
        for certificate in self.client_certificates:
            with _collected(found):
                certificate.load_into(context)
        return found


DEFAULT_TLS = TlsSettings()


def _trust(context: ssl.SSLContext, path: Path) -> None:
    with _explained(f"CA file {path}", "certificates in PEM"):
        context.load_verify_locations(path)


@contextlib.contextmanager
def _explained(what: str, expected: str) -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:
        detail = (error.reason or "").replace("_", " ").lower()
        said = f": {detail}" if detail else ""
        raise InputError(f"{what} is not valid{said}", hint=f"it must be {expected}") from error
    except OSError as error:
        raise InputError(f"cannot read {what}: {error.strerror}") from error


@contextlib.contextmanager
def _collected(found: list[str]) -> Iterator[None]:
    try:
        yield
    except ImagerError as error:
        if is_denied(error):
            raise
        found.append(f"{error.message} ({error.hint})" if error.hint else error.message)
