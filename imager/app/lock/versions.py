"""The versions of what shapes an output besides its inputs: programs and Python packages."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from imager.formats.ext4.libext2fs import library_version
from imager.profile.model import Profile
from imager.support.errors import DependencyError
from imager.support.tools import run_tool
from imager.talos.choices import OutFormat, OutputKind

# Those that lay out, compress or sign.
_PACKAGES = (
    "asn1crypto",
    "cryptography",
    "gpt-image",
    "pycdlib",
    "pyfatfs",
    "xxhash",
    "zlib-ng",
    "zstandard",
)
_EXTENDS = (("mksquashfs", "-version", "squashfs-tools"), ("depmod", "--version", "kmod"))
_NUMBER = re.compile(r"\d+(?:\.\d+)*", re.ASCII)
_XFS = ("mkfs.xfs", "-V", "xfsprogs")


def package_versions() -> Mapping[str, str]:
    """Return the versions of the Python packages that shape outputs."""
    found = {}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def program_versions(profile: Profile, *, uses_grub: bool) -> Iterator[tuple[str, str]]:
    """Yield name and version of the programs and libraries that shape an output of `profile`.

    One that is not installed is left out: if it is needed, the build says so.
    """
    is_disk = profile.output.kind is OutputKind.IMAGE
    extended = (
        profile.input.system_extensions or profile.customization.embedded_machine_configuration
    )
    if extended:
        yield from _said(_EXTENDS)
    if is_disk and uses_grub:
        yield from _said([_XFS])
    if is_disk and profile.input.image_cache:
        with suppress(DependencyError):
            yield "libext2fs", library_version()
    if (extended or profile.output.out_format is OutFormat.XZ) and (found := _liblzma()):
        yield "liblzma", found


def _said(programs: Iterable[tuple[str, str, str]]) -> Iterator[tuple[str, str]]:
    for name, option, package in programs:
        with suppress(DependencyError):
            said = run_tool([name, option], package=package).decode(errors="replace")
            found = _NUMBER.search(said)
            yield name, found[0] if found else said.strip().partition("\n")[0]


def _liblzma() -> str | None:
    """Return the version of the library that Python compresses xz with."""
    try:
        path = import_module("_lzma").__file__
        function = ctypes.CDLL(path).lzma_version_string
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_char_p
    return str(function().decode("ascii", "replace"))
