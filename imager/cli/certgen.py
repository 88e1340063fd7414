"""`imager images cache-cert-gen`: certificates for `cache-serve` with TLS."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imager.cli.options import Results
from imager.talos.constants import REGISTRY_PORT

if TYPE_CHECKING:
    from imager.registry.certificates import CertificateFiles, Issued

_Hidden = Annotated[list[str] | None, typer.Option(hidden=True)]


def cache_cert_gen(
    *,
    addresses: Annotated[
        list[str] | None,
        typer.Option(
            "--advertised-address",
            metavar="IP",
            help="Address at which clients reach the server.",
        ),
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--advertised-name",
            metavar="NAME",
            help="DNS name at which clients reach the server.",
        ),
    ] = None,
    tls_ca_file: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Certificate of the authority, for clients to trust."),
    ] = Path("ca.crt"),
    tls_ca_key_file: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Key of the authority; used again if both files exist."),
    ] = Path("ca.key"),
    tls_cert_file: Annotated[
        Path, typer.Option(metavar="FILE", help="Certificate of the server.")
    ] = Path("tls.crt"),
    tls_key_file: Annotated[Path, typer.Option(metavar="FILE", help="Key of the server.")] = Path(
        "tls.key"
    ),
    trusted_roots_patch: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default="image-cache-patch.yaml beside --tls-ca-file",
            help="Patch that makes Talos trust the authority.",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace the server's certificate and key, and the patch."),
    ] = False,
    advertise_address: _Hidden = None,
    advertise_name: _Hidden = None,
    display: Results,
) -> None:
    """Make a certificate authority, and a server certificate for cache-serve."""
    import datetime

    from imager.registry.certificates import CertificateFiles, make_certificates
    from imager.registry.patchfiles import TRUSTED_ROOTS

    patch = trusted_roots_patch or tls_ca_file.with_name(TRUSTED_ROOTS.name)
    files = CertificateFiles(tls_ca_file, tls_ca_key_file, tls_cert_file, tls_key_file, patch)
    issued = make_certificates(
        files,
        addresses=_listed(addresses, advertise_address),
        names=_listed(names, advertise_name),
        now=datetime.datetime.now(datetime.UTC),
        force=force,
    )
    reporter = display.reporter()
    for warning in issued.warnings:
        reporter.warn(warning)
    display.summary(lambda: "\n".join(_lines(files, issued)), lambda: _json(files, issued))


def _listed(*options: Sequence[str] | None) -> list[str]:
    """Return all values of options that may be repeated, or hold several with commas."""
    texts = [text for option in options for text in option or ()]
    return [value.strip() for text in texts for value in text.split(",")]


def _lines(files: CertificateFiles, issued: Issued) -> Iterator[str]:
    from imager.cli.tables import table
    from imager.support.screen import printable

    used = "" if issued.new_authority else "used again"
    rows = (
        (str(files.ca), "certificate of the authority, for clients to trust", used),
        (str(files.ca_key), "issues certificates for more servers", used or "SECRET"),
        (str(files.certificate), "certificate of the server", ""),
        (str(files.key), "key of the server", "SECRET"),
        (str(files.patch), "makes Talos trust the authority", ""),
    )
    yield from map(printable, table(rows, numbers=0))
    start, end = issued.certificate.not_valid_before_utc, issued.certificate.not_valid_after_utc
    yield f"Valid from {start:%Y-%m-%d} to {end:%Y-%m-%d} for {', '.join(issued.names)}."
    pair = f"--tls-cert-file {_quoted(files.certificate)} --tls-key-file {_quoted(files.key)}"
    yield printable(f"Next: imager images cache-serve PATH --address {_address(issued)} {pair}")


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _json(files: CertificateFiles, issued: Issued) -> str:
    certificate = issued.certificate
    value = {
        "ca": str(files.ca),
        "caKey": str(files.ca_key),
        "newAuthority": issued.new_authority,
        "certificate": str(files.certificate),
        "key": str(files.key),
        "patch": str(files.patch),
        "names": list(issued.names),
        "notBefore": certificate.not_valid_before_utc.isoformat(),
        "notAfter": certificate.not_valid_after_utc.isoformat(),
    }
    return json.dumps(value, indent=2)


def _address(issued: Issued) -> str:
    first = issued.names[0]
    return f"{f'[{first}]' if ':' in first else first}:{REGISTRY_PORT}"
