"""SecureBoot variables: signature lists, and their signed form for firmware.

UEFI 2.10, 32.4.1 (EFI_SIGNATURE_LIST) and 8.2.2 (EFI_VARIABLE_AUTHENTICATION_2): a time, a
WIN_CERTIFICATE_UEFI_GUID with PKCS #7 SignedData, then the variable's value. The signature covers
the value together with the variable's name, GUID, attributes and time. `.esl` files contain
signature lists, `.auth` files the signed form.
"""

from __future__ import annotations

import datetime
import enum
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from imager.efi.errors import InvalidKeyError
from imager.efi.signer import Signer

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_GLOBAL = UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
_SECURITY_DATABASE = UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
X509 = UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
SHA256 = UUID("c1c41626-504c-4092-aca9-41f936934328")
# Non-volatile, boot service and runtime access, time-based authenticated write access.
_ATTRIBUTES = 0x27
_APPEND = 0x40
_TIME = struct.Struct("<HBBBBBBIhBB")
_CERTIFICATE = struct.Struct("<IHH16s")
_REVISION, _TYPE_GUID = 0x0200, 0x0EF1
_PKCS7 = UUID("4aafd29d-68df-49ee-8aa9-347d375665a7")
_LIST = struct.Struct("<16sIII")
_OWNER_SIZE = 16
# Firmware stores variables in flash, typically with 64 to 256 KiB for all of them.
_LIMIT = 1 << 20


class Variable(enum.Enum):
    """A key variable; the value of the enum is the variable's name."""

    PK = "PK"
    KEK = "KEK"
    DB = "db"
    DBX = "dbx"

    @property
    def guid(self) -> UUID:
        """The variable's vendor GUID."""
        return _GLOBAL if self in (Variable.PK, Variable.KEK) else _SECURITY_DATABASE


@dataclass(frozen=True, slots=True)
class SignatureEntry:
    """An entry of a signature list: `data` is a DER certificate (kind `X509`) or a digest."""

    kind: UUID
    owner: UUID
    data: bytes


def certificate_lists(certificates: Iterable[Certificate], *, owner: UUID) -> bytes:
    """Return one signature list per certificate, since all entries of a list have one size."""
    from imager.efi.certificates import der

    lists = b""
    for certificate in certificates:
        entry = owner.bytes_le + der(certificate)
        lists += _LIST.pack(X509.bytes_le, _LIST.size + len(entry), 0, len(entry)) + entry
    return lists


def parse_lists(data: bytes) -> tuple[SignatureEntry, ...]:
    """Return the entries of concatenated signature lists; raises ValueError if damaged."""
    return tuple(_entries(data))


def _entries(data: bytes) -> Iterator[SignatureEntry]:
    position = 0
    while position < len(data):
        if len(data) - position < _LIST.size:
            raise ValueError("a signature list is truncated")
        kind, size, header, each = _LIST.unpack_from(data, position)
        body = size - _LIST.size - header
        if position + size > len(data) or each <= _OWNER_SIZE or body <= 0 or body % each:
            raise ValueError("a signature list contains invalid sizes")
        end = position + size
        for start in range(end - body, end, each):
            owner = UUID(bytes_le=data[start : start + _OWNER_SIZE])
            entry = data[start + _OWNER_SIZE : start + each]
            yield SignatureEntry(UUID(bytes_le=kind), owner, entry)
        position = end


def auth_variable(
    name: str, guid: UUID, esl: bytes, signer: Signer, timestamp: datetime.datetime
) -> bytes:
    """Return the `.auth` data that sets variable `name` of `guid` to the signature lists `esl`.

    `timestamp` (UTC, whole seconds) is the signing time: firmware accepts a replacement only if
    its time is later.
    """
    from imager.efi.pkcs7 import sign_detached

    time = _efi_time(timestamp)
    signature = sign_detached(_signed(name, guid, _ATTRIBUTES, time, esl), signer)
    size = _CERTIFICATE.size + len(signature)
    header = _CERTIFICATE.pack(size, _REVISION, _TYPE_GUID, _PKCS7.bytes_le)
    return time + header + signature + esl


def _efi_time(instant: datetime.datetime) -> bytes:
    """Return EFI_TIME (UEFI 2.10, 8.3.1); all fields except date and time must be zero."""
    utc = instant.astimezone(datetime.UTC)
    date = (utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second)
    return _TIME.pack(*date, 0, 0, 0, 0, 0)


def _signed(name: str, guid: UUID, attributes: int, time: bytes, value: bytes) -> bytes:
    text = name.encode("utf-16-le")
    return text + guid.bytes_le + struct.pack("<I", attributes) + time + value


@dataclass(frozen=True, slots=True)
class AuthFile:
    """A parsed signed variable: the entries of its value, and the signer's certificate.

    `signer` is None for an empty signature, which firmware accepts only for KEK and db, and only
    while no PK is enrolled.
    """

    variable: Variable
    timestamp: datetime.datetime
    entries: tuple[SignatureEntry, ...]
    signer: Certificate | None
    append: bool


def parse_auth(variable: Variable, data: bytes, *, name: str) -> AuthFile:
    """Parse the `.auth` file `data` for `variable`; `name` is for messages.

    Raises InputError if it is damaged, or not signed for this variable.
    """
    if len(data) > _LIMIT:
        raise InvalidKeyError(
            f"{name} is too large for a signed variable: more than {_LIMIT} bytes"
        )
    try:
        time, signature, value = _parts(data)
        timestamp = _instant(time)
        entries = parse_lists(value)
    except (ValueError, struct.error) as error:
        raise InvalidKeyError(
            f"{name}: not a signed UEFI variable: {error}",
            hint="use .auth files made by `imager secureboot gen-keys` or sign-efi-sig-list",
        ) from error
    signer, append = _verified(variable, time, signature, value, name=name)
    return AuthFile(variable, timestamp, entries, signer, append)


def _parts(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the time, the PKCS #7 structure and the value of an `.auth` file."""
    size, revision, kind, guid = _CERTIFICATE.unpack_from(data, _TIME.size)
    end = _TIME.size + size
    if (revision, kind, guid) != (_REVISION, _TYPE_GUID, _PKCS7.bytes_le):
        raise ValueError("no PKCS #7 signature follows the time")
    if size < _CERTIFICATE.size or end > len(data):
        raise ValueError("it is truncated")
    return data[: _TIME.size], data[_TIME.size + _CERTIFICATE.size : end], data[end:]


def _instant(time: bytes) -> datetime.datetime:
    *date, pad1, nanosecond, zone, daylight, pad2 = _TIME.unpack(time)
    if pad1 or nanosecond or zone or daylight or pad2:
        raise ValueError("fields of the time are not zero")
    return datetime.datetime(*date).replace(tzinfo=datetime.UTC)


def _verified(
    variable: Variable, time: bytes, signature: bytes, value: bytes, *, name: str
) -> tuple[Certificate | None, bool]:
    """Return the signer, and whether it signed an append to the variable; raises InputError."""
    from imager.efi.pkcs7 import DATA, Pkcs7Error, read_detached

    if not signature:
        return None, False
    problem = ""
    for attributes in (_ATTRIBUTES, _ATTRIBUTES | _APPEND):
        try:
            message = read_detached(signature)
            kind = (message.content_type, message.content, message.hash_name)
            if kind != (DATA, None, "sha256"):
                raise Pkcs7Error("is not a detached SHA-256 signature")
            message.verify(_signed(variable.value, variable.guid, attributes, time, value))
        except Pkcs7Error as error:
            problem = problem or str(error)
        else:
            return message.certificate, attributes != _ATTRIBUTES
    raise InvalidKeyError(
        f"{name}: for the variable {variable.value}, the signature {problem}",
        hint="the signature covers the variable's name: the file may be renamed or damaged",
    )
