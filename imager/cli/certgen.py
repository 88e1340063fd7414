"""`imager images cache-cert-gen`: certificates for `cache-serve` with TLS."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imager.cli.declare import flag, option
from imager.cli.options import Results
from imager.cli.tables import json_object, table
from imager.talos.constants import REGISTRY_PORT

if TYPE_CHECKING:
    from imager.registry.certificates import CertificateFiles, Issued

_Hidden = Annotated[list[str] | None, typer.Option(hidden=True)]


@dataclass(frozen=True, slots=True)
class Names:
    """The options for the names in a certificate; two also have talosctl's names."""

    advertised_address: Annotated[
        list[str] | None, option("IP", "Address at which clients reach the server.")
    ] = None
    advertised_name: Annotated[
        list[str] | None, option("NAME", "DNS name at which clients reach the server.")
    ] = None
    advertise_address: _Hidden = None
    advertise_name: _Hidden = None


@dataclass(frozen=True, slots=True)
class Files:
    """The options for the files to write, in the order of `ServerCertificate`."""

    tls_ca_file: Annotated[
        Path, option("FILE", "Certificate of the authority, for clients to trust.")
    ] = Path("ca.crt")
    tls_ca_key_file: Annotated[
        Path, option("FILE", "Key of the authority; reused if both files exist.")
    ] = Path("ca.key")
    tls_cert_file: Annotated[Path, option("FILE", "Certificate of the server.")] = Path("tls.crt")
    tls_key_file: Annotated[Path, option("FILE", "Key of the server.")] = Path("tls.key")
    trusted_roots_patch: Annotated[
        Path | None,
        option(
            "FILE",
            "Patch that makes Talos trust the authority.",
            default="image-cache-patch.yaml beside --tls-ca-file",
        ),
    ] = None
    force: Annotated[
        bool, flag("--force", "Replace the server's certificate and key, and the patch.")
    ] = False


def cache_cert_gen(*, names: Names, files: Files, display: Results) -> None:
    """Create a certificate authority and a server certificate for cache-serve."""
    from imager.app.certificates import ServerCertificate, make_server_certificate

    wanted = ServerCertificate(
        _listed(names.advertised_address, names.advertise_address),
        _listed(names.advertised_name, names.advertise_name),
        *astuple(files),
    )
    issued = make_server_certificate(wanted, display.reporter())
    display.summary(_text, _json, wanted.files, issued)


def _listed(*options: Sequence[str] | None) -> list[str]:
    """Return all values of options that can be repeated or contain comma-separated values."""
    texts = [text for option in options for text in option or ()]
    return [value.strip() for text in texts for value in text.split(",")]


def _text(files: CertificateFiles, issued: Issued) -> Iterator[str]:
    used = "" if issued.new_authority else "reused"
    rows = (
        (str(files.ca), "certificate of the authority, for clients to trust", used),
        (str(files.ca_key), "issues certificates for more servers", used or "SECRET"),
        (str(files.certificate), "certificate of the server", ""),
        (str(files.key), "key of the server", "SECRET"),
        (str(files.patch), "makes Talos trust the authority", ""),
    )
    start, end = issued.certificate.not_valid_before_utc, issued.certificate.not_valid_after_utc
    pair = ("--tls-cert-file", str(files.certificate), "--tls-key-file", str(files.key))
    yield from table(rows, numbers=0)
    yield f"Valid from {start:%Y-%m-%d} to {end:%Y-%m-%d} for {', '.join(issued.names)}."
    yield f"Next: imager images cache-serve PATH --address {_address(issued)} {shlex.join(pair)}"


def _json(files: CertificateFiles, issued: Issued) -> dict[str, Any]:
    certificate = issued.certificate
    return {
        **json_object(files),
        "newAuthority": issued.new_authority,
        "names": list(issued.names),
        "notBefore": certificate.not_valid_before_utc.isoformat(),
        "notAfter": certificate.not_valid_after_utc.isoformat(),
    }


def _address(issued: Issued) -> str:
    first = issued.names[0]
    return f"{f'[{first}]' if ':' in first else first}:{REGISTRY_PORT}"
