"""Create the TLS certificates for a server of image caches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from imager.registry.certificates import CertificateFiles, Issued, make_certificates
from imager.registry.patchfiles import TRUSTED_ROOTS
from imager.support.reporter import QUIET, Reporter


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """A certificate to create for IP `addresses` and DNS `names`, and the files to write.

    The authority is reused if both of its files exist. `patch` makes Talos trust it; by default it
    is next to `ca`. With `force`, certificate, key and patch are replaced.
    """

    addresses: Sequence[str] = ()
    names: Sequence[str] = ()
    ca: Path = Path("ca.crt")
    ca_key: Path = Path("ca.key")
    certificate: Path = Path("tls.crt")
    key: Path = Path("tls.key")
    patch: Path | None = None
    force: bool = False

    @property
    def files(self) -> CertificateFiles:
        """The files to write."""
        patch = self.patch or self.ca.with_name(TRUSTED_ROOTS.name)
        return CertificateFiles(self.ca, self.ca_key, self.certificate, self.key, patch)


def make_server_certificate(wanted: ServerCertificate, reporter: Reporter = QUIET) -> Issued:
    """Create a certificate, writing all files or none; raises as `make_certificates`."""
    issued = make_certificates(
        wanted.files,
        addresses=wanted.addresses,
        names=wanted.names,
        now=datetime.now(UTC),
        force=wanted.force,
    )
    reporter.warn(*issued.warnings)
    return issued
