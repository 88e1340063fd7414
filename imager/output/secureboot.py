"""SecureBoot in what was built: every EFI binary of an image with its signatures, read back.

The image may be of anyone: an EFI binary itself, or an ISO or raw disk whose EFI system partition
is found by its GPT.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imager.bootassets.measured import PcrPolicy, check_pcr_policy
from imager.errors import ImagerError, InputError, UnsupportedError
from imager.extents import Content, Extent, FileRange
from imager.media.fat_read import read_fat
from imager.media.gpt import ESP
from imager.media.gpt_read import read_gpt
from imager.pe import content_headers
from imager.reading import iterate_bytes
from imager.signing.authenticode_read import PeSignatures, read_signatures
from imager.signing.efivars import AuthFile, Variable, parse_auth
from imager.signing.enrollment import enrollment_problems, signs_for

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_SECTOR_SIZES = (512, 4096)
_HEADER = b"EFI PART"
_DOS = b"MZ"
_KEYS = "loader/keys/"
_AUTH = ".auth"
_AUTH_LIMIT = 1 << 20
_KERNEL, _PCR_KEY, _PCR_SIGNATURE = ".linux", ".pcrpkey", ".pcrsig"


@dataclass(frozen=True, slots=True)
class PcrFindings:
    """What a UKI holds for measured boot, by profile, and what is wrong with it."""

    public_key: bool
    signatures: bool
    policies: tuple[PcrPolicy, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Binary:
    """An EFI binary at `path` in the image: `found` is None when it cannot be read as one.

    `pcr` is None unless it is a UKI. `problems` says why firmware would not start it.
    """

    path: str
    size: int
    found: PeSignatures | None
    pcr: PcrFindings | None
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EnrolledKeys:
    """Keys that the bootloader offers the firmware from the folder `path`; None for one damaged."""

    path: str
    files: tuple[AuthFile, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SecureBootReport:
    """All that SecureBoot has to do with in an image."""

    binaries: tuple[Binary, ...]
    keys: tuple[EnrolledKeys, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, each with the place in the image; empty when all is signed and right."""
        found = [f"{each.path}: {problem}" for each in self.binaries for problem in each.problems]
        found += [f"{each.path}: {problem}" for each in self.keys for problem in each.problems]
        return tuple(found) if self.binaries else ("there is no EFI binary in it", *found)


def inspect_image(path: Path, *, trusted: Sequence[Certificate] = ()) -> SecureBootReport:
    """Return the EFI binaries and enrolment keys of `path`, held against `trusted` if given.

    Raises InputError when `path` is neither an EFI binary nor an image with an EFI system
    partition, OutputError when that is damaged.
    """
    files = dict(_files(path))
    binaries = tuple(
        _binary(name, content, trusted) for name, content in files.items() if _is_binary(content)
    )
    return SecureBootReport(binaries, tuple(_keys(files, binaries)))


def _files(path: Path) -> Iterator[tuple[str, Content]]:
    """Yield the files of the EFI system partitions, or the EFI binary itself, each with a name."""
    try:
        whole = Content.of_file(path)
        sector = next((each for each in _SECTOR_SIZES if _at(whole, each, 8) == _HEADER), 0)
        alone = not sector and _is_binary(whole)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if alone:
        yield path.name, whole
        return
    if not sector:
        raise InputError(
            f"{path}: neither an EFI binary nor an image with a GPT",
            hint="decompress it first, if it is compressed",
        )
    partitions = [each for each in read_gpt(path, sector).partitions if each.type_guid == ESP]
    if not partitions:
        raise InputError(f"{path}: it has no EFI system partition")
    for partition in partitions:
        for file in read_fat(path, offset=partition.offset, size=partition.size):
            yield file.path, file.content


def _at(content: Content, offset: int, size: int) -> bytes:
    length = max(min(size, content.size - offset), 0)
    return b"".join(iterate_bytes(content.slice(offset, length))) if length else b""


def _is_binary(content: Content) -> bool:
    return _at(content, 0, len(_DOS)) == _DOS


def _binary(path: str, content: Content, trusted: Sequence[Certificate]) -> Binary:
    try:
        found = read_signatures(content, trusted=trusted, name=path)
        pcr = pcr_findings(content, name=path)
    except ImagerError as error:
        reason = error.message.removeprefix(f"{path}: ")
        return Binary(path, content.size, None, None, (reason,))
    problems = (*found.problems, *(pcr.problems if pcr else ()))
    return Binary(path, content.size, found, pcr, problems)


def pcr_findings(uki: Content, *, name: str) -> PcrFindings | None:
    """Return what the UKI `uki` holds for measured boot; None for an EFI binary that is none.

    Policies are held against what the stub measures. Raises InputError when it is no PE32+ file.
    """
    sections = {section.name for section in content_headers(uki, name=name).sections}
    if _KERNEL not in sections:
        return None
    key, signatures = _PCR_KEY in sections, _PCR_SIGNATURE in sections
    if not key and not signatures:
        return PcrFindings(key, signatures, (), ())
    try:
        policies = _policies(uki)
    except UnsupportedError as error:
        return PcrFindings(key, signatures, (), (error.message,))
    problems = tuple(
        f"profile {policy.profile}: {problem}" if policy.profile else problem
        for policy in policies
        for problem in policy.problems
    )
    return PcrFindings(key, signatures, policies, problems)


def _policies(uki: Content) -> tuple[PcrPolicy, ...]:
    match uki.extents:
        case (Extent(source=FileRange(path, offset), length=length),) if length == uki.size:
            return check_pcr_policy(path, offset=offset)
        case _:
            raise UnsupportedError("its policies are not checked: the file lies in pieces")


def _keys(files: dict[str, Content], binaries: Sequence[Binary]) -> Iterator[EnrolledKeys]:
    """Yield the sets of keys that systemd-boot finds, by folder: loader/keys/NAME/*.auth."""
    folders = {
        name.rpartition("/")[0]
        for name in files
        if name.startswith(_KEYS) and name.lower().endswith(_AUTH)
    }
    for folder in sorted(folders):
        yield _key_set(folder, files, binaries)


def _key_set(folder: str, files: dict[str, Content], binaries: Sequence[Binary]) -> EnrolledKeys:
    found: dict[Variable, AuthFile] = {}
    problems = []
    for variable in Variable:
        name = f"{folder}/{variable.value}{_AUTH}"
        if name in files:
            try:
                found[variable] = parse_auth(variable, _auth_bytes(files[name]), name=name)
            except InputError as error:
                problems.append(error.message.removeprefix(f"{folder}/"))
        elif variable is not Variable.DBX:
            problems.append(f"{variable.value}{_AUTH} is missing")
    if not problems:
        db = found[Variable.DB]
        problems += enrollment_problems(found[Variable.PK], found[Variable.KEK], db)
        problems += _locked_out(db, binaries)
    return EnrolledKeys(folder, tuple(found.values()), tuple(problems))


def _auth_bytes(content: Content) -> bytes:
    return _at(content, 0, _AUTH_LIMIT + 1)


def _locked_out(db: AuthFile, binaries: Sequence[Binary]) -> Iterator[str]:
    """Yield what a machine would not start any more once it has these keys."""
    for binary in binaries:
        sound = [
            each for each in (binary.found.signatures if binary.found else ()) if not each.problem
        ]
        if not any(each.certificate and signs_for(db, each.certificate) for each in sound):
            yield f"with them a machine would refuse {binary.path}"
