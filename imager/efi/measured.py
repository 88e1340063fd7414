"""Measured boot of unified kernel images: add signed PCR policies, and check them.

systemd-stub(7) and UAPI.5, "UKI Profiles": a profile boots the sections before the first
`.profile`, overridden by its own, so each profile has its own PCR 11 value and `.pcrsig`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from imager.content.extents import Content
from imager.content.reading import hash_content, read_content
from imager.efi.errors import InvalidEfiBinaryError
from imager.efi.pcr import (
    FIRST_STUB,
    measured_sections,
    pcr_value,
    read_public_key,
    read_signatures,
    sign_policies,
    signed_phases,
)
from imager.efi.pe import SIZE_LIMIT, PeSection, content_headers
from imager.efi.signer import KeySigner
from imager.efi.systemd import version_number
from imager.efi.uki import PROFILE, Section
from imager.support.errors import InputError, UnsupportedError

_KEY, _SIGNATURES = ".pcrpkey", ".pcrsig"
_SMALL = 1 << 20
_MOST_TIMES, _LEAST_MEMORY = 2, 64 << 20
_PROFILE_ID = re.compile(rb'^ID="?([A-Za-z0-9._-]{1,64})"?$', re.MULTILINE)

_Digest = Callable[[Content], bytes]


@dataclass(frozen=True, slots=True)
class PcrPolicy:
    """The TPM data of one UKI profile; `profile` is its id, "" if the UKI has no profiles.

    `value` is PCR 11 at kernel start, `phases` are the boot phase paths with a signed policy, and
    `problems` has one line for each problem of `.pcrsig` and `.pcrpkey`.
    """

    profile: str
    value: bytes
    phases: tuple[str, ...]
    problems: tuple[str, ...]


def with_signatures(
    stub: Path,
    sections: Sequence[Section],
    signer: KeySigner,
) -> tuple[Section, ...]:
    """Return `sections`, to be added to `stub`, with a `.pcrsig` at the end of each profile.

    All contents are read and hashed once. Raises UnsupportedError for a stub whose measurements
    are unknown, InputError if a file cannot be read; the signer's errors propagate.
    """
    content = Content.of_file(stub)
    version = _known_version(version_number(content, "stub"), stub.name)
    base, profiles = split_profiles(sections)
    own = pe_sections(content, name=str(stub))
    digest = cache(hash_content)
    signed = list(base)
    for profile in profiles:
        booted = booted_sections((*own, *base), profile)
        value = _value(booted, version, digest)
        data = sign_policies(value, signer)
        signed += [*profile, Section(_SIGNATURES, Content.of_bytes(data))]
    return tuple(signed)


def check_pcr_policy(uki: Content, *, name: str = "the UKI") -> tuple[PcrPolicy, ...]:
    """Return the TPM data of each profile of `uki`; `name` is for messages.

    A missing `.pcrpkey` or `.pcrsig` is reported as a problem. Raises InputError if it is not a
    valid PE file, UnsupportedError if the stub's measurements are unknown.
    """
    version = _known_version(version_number(uki, "stub"), name)
    base, profiles = split_profiles(pe_sections(uki, name=name))
    digest = cache(hash_content)
    return tuple(_checked(booted_sections(base, profile), version, digest) for profile in profiles)


def pe_sections(image: Content, *, name: str) -> tuple[Section, ...]:
    """Return the sections of the PE file `image` as loaded in memory; `name` is for messages.

    Raises InputError if it is not a valid PE32+ file, or its sections take 4 GiB or more.
    """
    found = content_headers(image, name=name).sections
    taken = sum(section.virtual_size for section in found)
    # Zeros behind the data of a section are measured too, which takes time.
    if taken >= SIZE_LIMIT or taken > _MOST_TIMES * image.size + _LEAST_MEMORY:
        raise InvalidEfiBinaryError(
            f"{name}: its sections take more memory than a PE file can have"
        )
    return tuple(Section(each.name, _in_memory(image, each)) for each in found)


def _in_memory(image: Content, section: PeSection) -> Content:
    held = min(section.raw_size, section.virtual_size)
    start = section.offset if held else 0
    return image.slice(start, held).padded(section.virtual_size)


def _known_version(version: int, name: str) -> int:
    if version < FIRST_STUB:
        told = f"is from systemd {version}" if version else "does not state its version"
        raise UnsupportedError(
            f"the stub in {name} {told}: its TPM measurements are unknown",
            hint=f"use a stub from systemd {FIRST_STUB} or newer",
        )
    return version


def split_profiles(
    sections: Sequence[Section],
) -> tuple[Sequence[Section], list[Sequence[Section]]]:
    """Return the base sections, and those of each profile; one empty profile if there is none."""
    starts = [index for index, section in enumerate(sections) if section.name == PROFILE]
    if not starts:
        return sections, [()]
    return sections[: starts[0]], [sections[a:b] for a, b in pairwise([*starts, len(sections)])]


def booted_sections(base: Sequence[Section], profile: Sequence[Section]) -> dict[str, Content]:
    """Return the sections that a profile boots; the stub uses the first of each name."""
    # In a dictionary the last of each name stays.
    return {each.name: each.content for each in (*reversed(base), *reversed(profile))}


def _value(booted: Mapping[str, Content], version: int, digest: _Digest) -> bytes:
    names = [name for name in measured_sections(version) if name in booted]
    return pcr_value({name: digest(booted[name]) for name in names}, stub=version)


def _checked(booted: Mapping[str, Content], version: int, digest: _Digest) -> PcrPolicy:
    value = _value(booted, version, digest)
    profile = _profile_id(booted)
    missing = [name for name in (_KEY, _SIGNATURES) if name not in booted]
    if missing:
        return PcrPolicy(profile, value, (), tuple(f"{name} is missing" for name in missing))
    try:
        key = read_public_key(_small(booted, _KEY))
        signatures = read_signatures(_small(booted, _SIGNATURES))
    except InputError as error:
        return PcrPolicy(profile, value, (), (error.message,))
    phases, problems = signed_phases(value, signatures, key)
    return PcrPolicy(profile, value, phases, problems)


def _profile_id(booted: Mapping[str, Content]) -> str:
    if PROFILE not in booted:
        return ""
    found = _PROFILE_ID.search(_small(booted, PROFILE))
    return found[1].decode("ascii") if found else "?"


def _small(booted: Mapping[str, Content], name: str) -> bytes:
    content = booted[name]
    if content.size > _SMALL:
        raise InvalidEfiBinaryError(f"{name}: {content.size} bytes exceeds the limit of {_SMALL}")
    return read_content(content)
