"""Inspect SecureBoot in an image: signatures of EFI binaries, and the keys to be enrolled.

Reads any image: a single EFI binary, or an ISO, disk or stick with volumes that firmware boots from
(`bootvolumes`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imager.content.extents import Content
from imager.content.random_access import file_content
from imager.content.reading import read_content
from imager.efi.authenticode_read import PeSignatures, read_signatures, read_signers
from imager.efi.databases import starts
from imager.efi.efivars import AuthFile, Variable, parse_auth
from imager.efi.enrollment import enrollment_problems
from imager.efi.measured import PcrPolicy, check_pcr_policy
from imager.efi.pe import content_headers
from imager.image.bootvolumes import BootVolume, find_boot_volumes
from imager.support.errors import ImagerError, InputError, UnsupportedError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_DOS = b"MZ"
_EFI = ".efi"
_KEYS = "loader/keys/"
_AUTH = ".auth"
_AUTH_LIMIT = 1 << 20
_KERNEL, _PCR_KEY, _PCR_SIGNATURE = ".linux", ".pcrpkey", ".pcrsig"


@dataclass(frozen=True, slots=True)
class PcrFindings:
    """The data for measured boot in a UKI, by profile, and its problems."""

    public_key: bool
    signatures: bool
    policies: tuple[PcrPolicy, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Binary:
    """An EFI binary at `path` of `volume`; `volume` is empty for a single binary.

    `found` is None if the file is not a valid EFI binary, `pcr` unless it is a UKI. `problems` are
    reasons why firmware would not start it, or a TPM would not release a key.
    """

    volume: str
    path: str
    size: int
    found: PeSignatures | None
    pcr: PcrFindings | None
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EnrolledKeys:
    """Keys that systemd-boot enrols from the folder `path` of `volume`, except damaged ones."""

    volume: str
    path: str
    files: tuple[AuthFile, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SecureBootReport:
    """The SecureBoot contents of an image; `warnings` are not errors."""

    binaries: tuple[Binary, ...]
    keys: tuple[EnrolledKeys, ...]
    warnings: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """All problems, with their places in the image; empty if everything is signed and valid."""
        found = [f"{self.name(each)}: {text}" for each in self.binaries for text in each.problems]
        found += [f"{self.name(each)}: {text}" for each in self.keys for text in each.problems]
        return tuple(found) if self.binaries else ("found no EFI binary", *found)

    def name(self, item: Binary | EnrolledKeys) -> str:
        """Return the path of `item`, with its volume if the report covers several."""
        volumes = {each.volume for each in self.binaries} | {each.volume for each in self.keys}
        return f"{item.volume}: {item.path}" if len(volumes) > 1 else item.path


def inspect_image(path: Path, *, trusted: Sequence[Certificate] = ()) -> SecureBootReport:
    """Return the EFI binaries and enrolment keys of `path`, checked against `trusted` if given.

    Raises InputError if `path` is neither an EFI binary nor an image with a volume that firmware
    boots from, or if such a volume is damaged; OutputError if it cannot be read.
    """
    try:
        whole = file_content(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if _start(whole, len(_DOS)) == _DOS:
        return inspect_volumes([BootVolume("", {path.name: whole})], trusted=trusted)
    return inspect_volumes(find_boot_volumes(whole, str(path)), trusted=trusted)


def inspect_volumes(
    volumes: Sequence[BootVolume], *, trusted: Sequence[Certificate] = (), hashed: bool = True
) -> SecureBootReport:
    """Return the EFI binaries and enrolment keys of `volumes`; see `inspect_image`.

    Unless `hashed`, only headers of the binaries are read: signatures are not compared with them.
    """
    binaries: list[Binary] = []
    keys: list[EnrolledKeys] = []
    for volume in volumes:
        found = [
            _binary(volume.name, name, content, trusted, hashed=hashed)
            for name, content in volume.files.items()
            if _is_binary(name, content)
        ]
        binaries += found
        keys += _keys(volume, found)
    warnings = tuple(f"{each.name}: {text}" for each in volumes for text in each.warnings)
    return SecureBootReport(tuple(binaries), tuple(keys), warnings)


def _start(content: Content, size: int) -> bytes:
    return read_content(content.slice(0, min(size, content.size)))


def _is_binary(name: str, content: Content) -> bool:
    return name.lower().endswith(_EFI) or _start(content, len(_DOS)) == _DOS


def _binary(
    volume: str, path: str, content: Content, trusted: Sequence[Certificate], *, hashed: bool
) -> Binary:
    try:
        if not hashed:
            found = read_signers(content, name=path)
            return Binary(volume, path, content.size, found, None, ())
        found = read_signatures(content, trusted=trusted, name=path)
        pcr = pcr_findings(content, name=path)
    except ImagerError as error:
        reason = error.message.removeprefix(f"{path}: ")
        return Binary(volume, path, content.size, None, None, (reason,))
    problems = (*found.problems, *(pcr.problems if pcr else ()))
    return Binary(volume, path, content.size, found, pcr, problems)


def pcr_findings(uki: Content, *, name: str) -> PcrFindings | None:
    """Return the measured boot data of the UKI `uki`; None for any other EFI binary.

    Compares policies with the stub's measurements. Raises InputError if it is not a PE32+ file.
    """
    sections = {section.name for section in content_headers(uki, name=name).sections}
    if _KERNEL not in sections:
        return None
    key, signatures = _PCR_KEY in sections, _PCR_SIGNATURE in sections
    if not key and not signatures:
        return PcrFindings(key, signatures, (), ())
    try:
        policies = check_pcr_policy(uki, name=name)
    except UnsupportedError as error:
        return PcrFindings(key, signatures, (), (error.message,))
    problems = tuple(
        f"profile {policy.profile}: {problem}" if policy.profile else problem
        for policy in policies
        for problem in policy.problems
    )
    return PcrFindings(key, signatures, policies, problems)


def _keys(volume: BootVolume, binaries: Sequence[Binary]) -> Iterator[EnrolledKeys]:
    """Yield the key sets that systemd-boot finds, by folder: loader/keys/NAME/*.auth."""
    folders = {
        name.rpartition("/")[0]
        for name in volume.files
        if name.lower().startswith(_KEYS) and name.lower().endswith(_AUTH)
    }
    for folder in sorted(folders):
        prefix = f"{folder}/".lower()
        files = {
            name.lower().removeprefix(prefix): content
            for name, content in volume.files.items()
            if name.lower().startswith(prefix)
        }
        found, problems = _key_set(files, binaries)
        yield EnrolledKeys(volume.name, folder, found, problems)


def _key_set(
    files: Mapping[str, Content], binaries: Sequence[Binary]
) -> tuple[tuple[AuthFile, ...], tuple[str, ...]]:
    """Return the variables in a folder of `files` (lower-case, as on FAT), and problems."""
    found: dict[Variable, AuthFile] = {}
    problems = []
    for variable in Variable:
        name = f"{variable.value}{_AUTH}"
        content = files.get(name.lower())
        if content is not None:
            try:
                found[variable] = parse_auth(variable, _start(content, _AUTH_LIMIT + 1), name=name)
            except InputError as error:
                problems.append(error.message)
        elif variable is not Variable.DBX:
            problems.append(f"{name} is missing")
    if not problems:
        db, dbx = found[Variable.DB], found.get(Variable.DBX)
        problems += enrollment_problems(found[Variable.PK], found[Variable.KEK], db)
        problems += [
            f"a machine that enrols these keys rejects {each.path}"
            for each in binaries
            if each.found is None or (each.found.digest and not starts(each.found, db=db, dbx=dbx))
        ]
    return tuple(found.values()), tuple(problems)
