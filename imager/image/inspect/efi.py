"""Look into EFI binaries: unified kernel images, signatures, policies of PCRs, keys to enrol."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imager.bootassets.kernelversion import kernel_version
from imager.content.extents import Content
from imager.content.random_access import ContentReader
from imager.efi.certificates import fingerprint, issuer, subject
from imager.efi.measured import booted_sections, pe_sections, split_profiles
from imager.efi.uki import PROFILE, Section
from imager.image.bootvolumes import BootVolume
from imager.image.inspect.model import (
    EfiBinaryInfo,
    KeyInfo,
    PolicyInfo,
    ProfileInfo,
    SectionInfo,
    SignatureInfo,
    UkiInfo,
)
from imager.image.inspect.notes import Depth, Notes
from imager.image.inspect_secureboot import Binary, SecureBootReport, inspect_volumes
from imager.support.screen import printable

if TYPE_CHECKING:
    from imager.efi.authenticode_read import PeSignature

_TEXT = 64 << 10
# Kernels too, which a loader may start by firmware's means.
_BINARY = re.compile(r"\.efi$|(^|/)(vmlinuz|linux|bzimage)[^/]*$", re.IGNORECASE)
_LOADER = "loader/"
_MOST_BINARIES = 64
_KERNEL, _INITRAMFS, _CMDLINE, _OS_RELEASE = ".linux", ".initrd", ".cmdline", ".osrel"


@dataclass(frozen=True, slots=True)
class Uki:
    """A unified kernel image: its bytes, and its kernel and initramfs."""

    info: UkiInfo
    content: Content
    kernel: Content
    initramfs: Content | None


@dataclass(frozen=True, slots=True)
class EfiContents:
    """The EFI binaries, UKIs and keys of an image."""

    binaries: tuple[EfiBinaryInfo, ...] = ()
    ukis: tuple[Uki, ...] = ()
    keys: tuple[KeyInfo, ...] = ()


def read_efi(volumes: Sequence[BootVolume], notes: Notes, depth: Depth) -> EfiContents:
    """Return the EFI binaries in the files of `volumes`, each with its signatures.

    Those of a remote image are not compared with the bytes, which would have to be fetched.
    """
    volumes = [_limited(volume, notes) for volume in volumes]
    report = SecureBootReport((), ())
    with notes.reading("EFI binaries"):
        report = inspect_volumes(volumes, hashed=not depth.is_remote)
    if depth.is_remote and report.binaries:
        notes.unread("EFI binaries", "signatures are not checked, since the image is remote")
    files = {volume.name: volume.files for volume in volumes}
    binaries, ukis = [], []
    for binary in report.binaries:
        place = f"{binary.volume}: {binary.path}" if binary.volume else binary.path
        _note_problems(binary, place, notes)
        if binary.found is None:
            continue
        binaries.append(
            EfiBinaryInfo(
                binary.volume,
                binary.path,
                binary.size,
                binary.found.digest.hex(),
                tuple(map(_signature, binary.found.signatures)),
            )
        )
        with notes.reading(place):
            uki = _uki(binary, files[binary.volume][binary.path], place, notes)
            ukis.extend([uki] if uki else [])
    return EfiContents(tuple(binaries), tuple(ukis), tuple(_keys(report, notes)))


def _limited(volume: BootVolume, notes: Notes) -> BootVolume:
    """Return the volume with what firmware and loaders start, and keys: all of it is hashed."""
    if not volume.name:
        return volume
    names = [name for name in volume.files if _BINARY.search(name)]
    if len(names) > _MOST_BINARIES:
        notes.unread(volume.name, f"only {_MOST_BINARIES} of {len(names)} EFI binaries are read")
    keys = [name for name in volume.files if name.lower().startswith(_LOADER)]
    kept = dict.fromkeys([*names[:_MOST_BINARIES], *keys[:_MOST_BINARIES]])
    return BootVolume(volume.name, {name: volume.files[name] for name in kept}, volume.warnings)


def _note_problems(binary: Binary, place: str, notes: Notes) -> None:
    if binary.found is None:
        for problem in binary.problems:
            notes.damaged(place, problem)
        return
    for signature in binary.found.signatures:
        if signature.problem:
            notes.damaged(place, signature.problem)
    if binary.pcr is not None and binary.pcr.public_key and binary.pcr.signatures:
        for problem in binary.pcr.problems:
            notes.damaged(place, problem)


def _signature(signature: PeSignature) -> SignatureInfo:
    certificate = signature.certificate
    if certificate is None:
        return SignatureInfo("", "", "", "", "", signature.hash_name, signature.problem)
    return SignatureInfo(
        subject(certificate),
        issuer(certificate),
        fingerprint(certificate),
        certificate.not_valid_before_utc.isoformat(),
        certificate.not_valid_after_utc.isoformat(),
        signature.hash_name,
        signature.problem,
    )


def _keys(report: SecureBootReport, notes: Notes) -> Iterator[KeyInfo]:
    for keys in report.keys:
        for problem in keys.problems:
            notes.damaged(f"{keys.volume}: {keys.path}", problem)
        for file in keys.files:
            signer = subject(file.signer) if file.signer is not None else ""
            yield KeyInfo(keys.volume, keys.path, file.variable.value, len(file.entries), signer)


def _uki(binary: Binary, content: Content, place: str, notes: Notes) -> Uki | None:
    sections = pe_sections(content, name=place)
    base, profiles = split_profiles(sections)
    whole = booted_sections(base, profiles[0])
    if _KERNEL not in whole:
        return None
    version = ""
    with notes.reading(f"{place}: {_KERNEL}"):
        version = kernel_version(whole[_KERNEL], name=f"{place}: {_KERNEL}")
    info = UkiInfo(
        binary.volume,
        binary.path,
        binary.size,
        version or _text(whole, ".uname").strip(),
        os_release(_text(whole, _OS_RELEASE)),
        tuple(SectionInfo(each.name, each.content.size) for each in sections),
        tuple(_profiles(base, profiles, binary)),
    )
    return Uki(info, content, whole[_KERNEL], whole.get(_INITRAMFS))


def _profiles(
    base: Sequence[Section], profiles: Sequence[Sequence[Section]], binary: Binary
) -> Iterator[ProfileInfo]:
    policies = binary.pcr.policies if binary.pcr else ()
    for number, profile in enumerate(profiles):
        booted = booted_sections(base, profile)
        fields = os_release(_text(booted, PROFILE))
        policy = None
        if number < len(policies) and policies[number].phases:
            found = policies[number]
            policy = PolicyInfo(found.value.hex(), tuple(map(printable, found.phases)))
        yield ProfileInfo(
            fields.get("ID", ""),
            fields.get("TITLE", ""),
            _text(booted, _CMDLINE).strip().rstrip("\0"),
            policy,
        )


def os_release(text: str) -> Mapping[str, str]:
    """Return the fields of an os-release(5) file or a UKI's `.profile`."""
    fields = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and key and not key.startswith("#"):
            fields[key] = value.strip("\"'")
    return fields


def _text(sections: Mapping[str, Content], name: str) -> str:
    if name not in sections:
        return ""
    with ContentReader(sections[name]) as reader:
        return reader.read(0, _TEXT).decode("utf-8", "replace").rstrip("\0")
