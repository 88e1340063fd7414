"""A private certificate authority, and the server certificate that it issues."""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from imager.efi.certificates import first_certificate, pem, subject
from imager.efi.errors import InvalidKeyError
from imager.efi.issuing import Issuer, Validity, new_ec_key, private_pem
from imager.efi.signer import load_private_key
from imager.registry.patchfiles import require_same, trusted_roots
from imager.support.atomic import atomic_file
from imager.support.errors import AlreadyExistsError, InputError, UnsupportedError
from imager.support.folders import check_output_folder

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate

    IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAME = "imager image cache"
_LASTING = datetime.timedelta(days=3652)
# The clocks of machines without a network may be slow.
_BEFORE = datetime.timedelta(days=1)
_LOOPBACK = ("127.0.0.1", "::1")
_LOCALHOST = "localhost"
_LONGEST_NAME = 253
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# RFC 1034, section 3.5, except for all-digit names; the first label may be * (RFC 9525, 6.3).
_DNS_NAME = re.compile(rf"(?:\*\.)?(?:{_LABEL}\.)*(?![0-9]+$){_LABEL}", re.ASCII)
_PUBLIC, _SECRET = 0o644, 0o600


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """The paths of the authority's and the server's files, all in PEM.

    `certificate` holds the server's certificate followed by the authority's; `patch` is the
    document that makes Talos trust the authority.
    """

    ca: Path
    ca_key: Path
    certificate: Path
    key: Path
    patch: Path


@dataclass(frozen=True, slots=True)
class Issued:
    """The certificates issued; `names` are all that the server's certificate is valid for."""

    ca: Certificate
    certificate: Certificate
    names: tuple[str, ...]
    new_authority: bool
    warnings: tuple[str, ...]


def make_certificates(
    files: CertificateFiles,
    *,
    addresses: Iterable[str],
    names: Iterable[str],
    now: datetime.datetime,
    force: bool = False,
) -> Issued:
    """Issue a certificate for a server and write it with its key: all files or none.

    It is valid for the IP `addresses`, the DNS `names` and this machine itself, for ten years from
    a day before `now` (UTC), but no longer than its authority's. The authority of `files` is used
    if it exists, otherwise one is created. Only the owner may read the private keys.

    Raises InputError, without writing anything, for an invalid address or name, for existing server
    files unless `force` is set, and for an authority that cannot issue certificates.
    """
    valid_for = [*map(_address, (*addresses, *_LOOPBACK)), *map(_dns_name, (*names, _LOCALHOST))]
    alternatives = tuple(dict.fromkeys(valid_for))
    _check_targets(files, force=force)
    warnings: tuple[str, ...] = ()
    new_authority = _is_new(files)
    if new_authority:
        validity = Validity.lasting(_LASTING, start=now - _BEFORE)
        issuer = Issuer.new(f"{_NAME} CA", new_ec_key(), validity)
    else:
        issuer, warnings = _load_issuer(files, now)
    certificate, key = _issue(issuer, alternatives, now)
    written = [
        (files.certificate, pem(certificate) + pem(issuer.certificate), _PUBLIC),
        (files.key, private_pem(key), _SECRET),
    ]
    roots = trusted_roots(pem(issuer.certificate).decode())
    if not force:
        require_same(files.patch, roots)
    written.append((files.patch, roots.encode(), _PUBLIC))
    if new_authority:
        written.append((files.ca, pem(issuer.certificate), _PUBLIC))
        written.append((files.ca_key, private_pem(issuer.key), _SECRET))
    _write(written)
    return Issued(
        issuer.certificate, certificate, tuple(map(str, alternatives)), new_authority, warnings
    )


def _address(text: str) -> IpAddress:
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        raise InputError(
            f"{text[:200]!r} is not an IP address",
            hint="use --advertised-name for names; write addresses without port or mask",
        ) from error


def _dns_name(text: str) -> str:
    """Return a DNS name in lower case, without the dot at its end."""
    name = text.lower().removesuffix(".")
    if len(name) > _LONGEST_NAME or not _DNS_NAME.fullmatch(name):
        raise InputError(
            f"{text[:200]!r} is not a DNS name",
            hint="use --advertised-address for addresses; names are ASCII (xn--...), without port",
        )
    return name


def _check_targets(files: CertificateFiles, *, force: bool) -> None:
    paths = (files.ca, files.ca_key, files.certificate, files.key, files.patch)
    if len({path.resolve() for path in paths}) != len(paths):
        raise InvalidKeyError(
            "certificates, keys and patch must be five different files: two have the same name"
        )
    for path in paths:
        check_output_folder(path.parent)
        if path.is_dir():
            raise InputError(f"{path} is a folder", hint="give the name of a file")
    for path in (files.certificate, files.key):
        if path.exists() and not force:
            raise AlreadyExistsError(
                f"{path} exists already", hint="give another name, or --force to replace it"
            )


def _is_new(files: CertificateFiles) -> bool:
    """Return whether to create the authority; raises InputError if only one file is missing."""
    found = [path for path in (files.ca, files.ca_key) if path.exists()]
    if len(found) == 1:
        (missing,) = {files.ca, files.ca_key}.difference(found)
        raise InvalidKeyError(
            f"{found[0]} exists, but {missing} does not: both are needed to issue a certificate",
            hint="give the missing file, or other names to create a new authority",
        )
    return not found


def _load_issuer(files: CertificateFiles, now: datetime.datetime) -> tuple[Issuer, tuple[str, ...]]:
    """Load the authority of `files`; also return warnings about its key's file."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    authority = first_certificate(files.ca)
    key, warnings = load_private_key(files.ca_key)
    if authority.public_key() != key.public_key():
        raise InvalidKeyError(
            f"{files.ca}: {files.ca_key} is not the key of this certificate ({subject(authority)})",
            hint="give a certificate and its key, or other names to create a new authority",
        )
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise UnsupportedError(f"{files.ca_key}: an authority's key must be an RSA or EC key")
    if not _may_issue(authority):
        raise InvalidKeyError(
            f"{files.ca}: this certificate ({subject(authority)}) is not a CA certificate",
            hint="give other names to create a new authority",
        )
    if not authority.not_valid_before_utc <= now < authority.not_valid_after_utc:
        raise InputError(
            f"{files.ca} is not valid now, but from {authority.not_valid_before_utc:%Y-%m-%d} to "
            f"{authority.not_valid_after_utc:%Y-%m-%d}",
            hint="check the clock, or give other names to create a new authority",
        )
    return Issuer(authority, key), warnings


def _may_issue(authority: Certificate) -> bool:
    from cryptography.x509 import BasicConstraints, ExtensionNotFound, KeyUsage

    try:
        if not authority.extensions.get_extension_for_class(BasicConstraints).value.ca:
            return False
        return authority.extensions.get_extension_for_class(KeyUsage).value.key_cert_sign
    except ExtensionNotFound as error:
        # Without a key usage extension, the key has any use (RFC 5280, 4.2.1.3).
        return error.oid == KeyUsage.oid


def _issue(
    issuer: Issuer, alternatives: Sequence[IpAddress | str], now: datetime.datetime
) -> tuple[Certificate, EllipticCurvePrivateKey]:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = new_ec_key()
    lasting = Validity.lasting(_LASTING, start=now - _BEFORE)
    authority = issuer.certificate
    validity = Validity(
        max(lasting.start, authority.not_valid_before_utc),
        min(lasting.end, authority.not_valid_after_utc),
    )
    certificate = issuer.issue(
        _NAME,
        key,
        validity,
        purpose=ExtendedKeyUsageOID.SERVER_AUTH,
        alternatives=tuple(
            x509.DNSName(each) if isinstance(each, str) else x509.IPAddress(each)
            for each in alternatives
        ),
    )
    return certificate, key


def _write(files: Sequence[tuple[Path, bytes, int]]) -> None:
    """Write files of (path, bytes, permissions); all are on disk before the first is renamed."""
    with ExitStack() as stack:
        for path, data, mode in files:
            descriptor = stack.enter_context(atomic_file(path, mode=mode))
            with open(descriptor, "wb", closefd=False) as file:
                file.write(data)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
