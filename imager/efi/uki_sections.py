"""The sections of Talos's unified kernel images: kernel, initramfs, command line, titles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from imager.content.extents import Content
from imager.efi.uki import PROFILE, Section
from imager.support.errors import InputError

_MAIN = "main"
# Values that os-release(5) accepts without escapes: unquoted, and in double quotes.
_WORD = re.compile(r"[A-Za-z0-9._+-]+", re.ASCII)
_TEXT = re.compile(r"[A-Za-z0-9 ()._+-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class UkiProfile:
    """An alternative boot entry of a UKI: its own command line, shown as `title` in boot menus."""

    profile_id: str
    title: str
    cmdline: str


@dataclass(frozen=True, slots=True)
class UkiParts:
    """The parts of a UKI; an empty `uname` or `pcr_public_key` (PEM) is left out.

    `profiles` follow the profile `main`, the UKI itself; None leaves out profiles altogether.
    Stubs support profiles from systemd 257 on.
    """

    os_release: str
    cmdline: str
    kernel: Content
    initramfs: Content
    uname: str = ""
    pcr_public_key: bytes = b""
    profiles: tuple[UkiProfile, ...] | None = None


def uki_sections(parts: UkiParts) -> tuple[Section, ...]:
    """Return the sections of a UKI in Talos's order; the stub already contains `.sbat`."""
    sections = (
        _text_section(".osrel", parts.os_release),
        _text_section(".cmdline", parts.cmdline),
        _text_section(".uname", parts.uname),
        Section(".pcrpkey", Content.of_bytes(parts.pcr_public_key)),
        Section(".linux", parts.kernel),
        Section(".initrd", parts.initramfs),
    )
    optional = {".uname", ".pcrpkey"}
    base = tuple(each for each in sections if each.content.size or each.name not in optional)
    return (*base, *_profile_sections(parts.profiles))


def _profile_sections(profiles: Sequence[UkiProfile] | None) -> Iterator[Section]:
    """Yield the profile sections; like Talos's, `.profile` has no trailing newline."""
    if profiles is None:
        return
    yield _text_section(PROFILE, f"ID={_MAIN}")
    for profile in profiles:
        fields = f"ID={_of(_WORD, profile.profile_id)}\nTITLE={_of(_TEXT, profile.title)}"
        yield _text_section(PROFILE, fields)
        yield _text_section(".cmdline", profile.cmdline)


def _text_section(name: str, text: str) -> Section:
    return Section(name, Content.of_bytes(text.encode()))


def os_release(*, version: str, title: str) -> str:
    """Return Talos's os-release(5) file, which boot menus use for the title and for sorting.

    Raises InputError for a value that the file cannot represent.
    """
    return (
        'NAME="Talos"\n'
        "ID=talos\n"
        f"VERSION_ID={_of(_WORD, version)}\n"
        f'PRETTY_NAME="{_of(_TEXT, title)}"\n'
        'HOME_URL="https://www.talos.dev/"\n'
        'BUG_REPORT_URL="https://github.com/siderolabs/talos/issues"\n'
        'VENDOR_NAME="Sidero Labs"\n'
        'VENDOR_URL="https://www.siderolabs.com/"\n'
    )


def _of(pattern: re.Pattern[str], value: str) -> str:
    if not pattern.fullmatch(value):
        raise InputError(
            f"{value!r} contains characters that are not allowed in a boot menu entry",
            hint="name a Talos version, such as --talos-version v1.9.0",
        )
    return value
