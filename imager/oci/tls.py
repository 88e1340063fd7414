"""Trusted CAs and client certificates of TLS connections to registries."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imager.oci.errors import InvalidRegistrySettingsError
from imager.support.errors import ImagerError, is_denied

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A PEM certificate and its key; `key` is None when the same file contains both."""

    certificate: Path
    key: Path | None = None

    def load_into(self, context: ssl.SSLContext) -> None:
        """Present this certificate on connections of `context`; raises InputError if invalid."""
        with _explained(
            f"client certificate {self.certificate}",
            "a certificate and its key in PEM, without a password",
        ):
            # Without a password, OpenSSL would prompt for one on the terminal.
            context.load_cert_chain(self.certificate, self.key, password="")


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """TLS settings of a host; `ca_files` (PEM) are trusted in addition to the system's CAs.

    `verify=False` accepts any server certificate.
    """

    verify: bool = True
    ca_files: tuple[Path, ...] = ()
    client_certificates: tuple[ClientCertificate, ...] = ()

    def __or__(self, other: TlsSettings) -> TlsSettings:
        """Combine both settings; certificates are checked only if both require it."""
        return TlsSettings(
            verify=self.verify and other.verify,
            ca_files=self.ca_files + other.ca_files,
            client_certificates=self.client_certificates + other.client_certificates,
        )

    def context(self) -> ssl.SSLContext:
        """Create a context for connections; raises InputError when a file is invalid."""
        import ssl

        from urllib3.util import create_urllib3_context

        context = create_urllib3_context()
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.load_default_certs()
        for load in self._files():
            load(context)
        return context

    def problems(self) -> list[str]:
        """Return the problems of the files, one message each."""
        if not (files := list(self._files())):
            return []
        from urllib3.util import create_urllib3_context

        context = create_urllib3_context()
        found: list[str] = []
        for load in files:
            try:
                load(context)
            except ImagerError as error:
                if is_denied(error):
                    raise
                found.append(f"{error.message} ({error.hint})" if error.hint else error.message)
        return found

    def _files(self) -> Iterator[Callable[[ssl.SSLContext], None]]:
        """Yield a function for each file that loads it into a context."""
        yield from (functools.partial(_trust, path) for path in self.ca_files)
        yield from (certificate.load_into for certificate in self.client_certificates)


DEFAULT_TLS = TlsSettings()


def _trust(path: Path, context: ssl.SSLContext) -> None:
    with _explained(f"CA file {path}", "certificates in PEM"):
        context.load_verify_locations(path)


@contextlib.contextmanager
def _explained(what: str, expected: str) -> Iterator[None]:
    import ssl

    try:
        yield
    except ssl.SSLError as error:
        detail = (error.reason or "").replace("_", " ").lower()
        said = f": {detail}" if detail else ""
        raise InvalidRegistrySettingsError(
            f"{what} is not valid{said}", hint=f"it must be {expected}"
        ) from error
    except OSError as error:
        raise InvalidRegistrySettingsError(f"cannot read {what}: {error.strerror}") from error
