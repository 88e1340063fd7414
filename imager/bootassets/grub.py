"""GRUB's own files: which are required, and where to find them.

    <assets>/<arch>/grub/{i386-pc,x86_64-efi,arm64-efi}/   with the contents of /usr/lib/grub

i386-pc contains the parts of a BIOS image; of an EFI platform, only Debian's prebuilt image with
all modules is used. GRUB fits any kernel, so unlike the other boot assets it may be in another
folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from imager.bootassets.errors import BootAssetError
from imager.bootassets.find import asset_places
from imager.efi.pe import check_pe
from imager.support.arch import Arch
from imager.support.errors import UnsupportedError

GRUB_FOLDER = "grub"
INSTALLED = Path("/usr/lib/grub")
KERNEL = "kernel.img"
DECOMPRESSOR = "lzma_decompress.img"
DISK_BOOT, DISK_CORE_START = "boot.img", "diskboot.img"
HYBRID_BOOT, CD_CORE_START = "boot_hybrid.img", "cdboot.img"
MODULE_LIST = "moddep.lst"
NORMAL = "normal.mod"
# Modules to read our media and start Linux; the second line is for users at GRUB's prompt.
MODULES = (
    "biosdisk", "part_gpt", "iso9660", "xfs", "normal", "linux", "serial", "test",
    "echo", "ls", "cat", "halt", "reboot",
)  # fmt: skip
_DEEPEST = 100
_LARGEST = 16 << 20
# The menu's headline: a message, followed by its argument.
_VERSION = re.compile(rb"version %s\0([!-~]{1,60})\0")
_IMAGES = (KERNEL, DECOMPRESSOR, DISK_BOOT, DISK_CORE_START, HYBRID_BOOT, CD_CORE_START)


def module_order(module_list: str, wanted: Iterable[str]) -> tuple[str, ...]:
    """Return `wanted` and all modules that they require, each after its dependencies.

    `module_list` is the text of moddep.lst: lines `name: name ...`. Dependencies are in the reverse
    order of their line, as in grub-mkimage. Raises ValueError for an unknown name.
    """
    needs = {
        name.strip(): others.split()
        for name, _, others in (line.partition(":") for line in module_list.splitlines())
    }
    found: dict[str, None] = {}

    def add(name: str, outer: frozenset[str]) -> None:
        if name not in needs:
            raise ValueError(f"{MODULE_LIST} has no module {name!r}")
        if len(outer) > _DEEPEST:
            raise ValueError(f"{MODULE_LIST} has a chain of more than {_DEEPEST} modules")
        if name not in found and name not in outer:
            for other in reversed(needs[name]):
                add(other, outer | {name})
            found[name] = None

    for name in wanted:
        add(name, frozenset())
    return tuple(found)


def bios_files(module_list: str) -> tuple[str, ...]:
    """Return the names of all GRUB files that a BIOS image is built from."""
    modules = (f"{name}.mod" for name in module_order(module_list, MODULES))
    return (*_IMAGES, MODULE_LIST, *modules)


def efi_file(arch: Arch) -> str:
    """Return the path in GRUB's folder of the EFI image, Debian's for CDs."""
    return f"{arch.grub_efi}/monolithic/gcd{arch.efi_stub_suffix}.efi"


def find_bios_grub(arch: Arch, *, given: Path | None = None) -> Path:
    """Return GRUB's folder for the BIOS of `arch`; `given` is searched first.

    Raises UnsupportedError if the architecture has no BIOS, InputError if nothing is found.
    """
    if arch.grub_bios is None:
        raise UnsupportedError(
            f"{arch.name} machines have no BIOS", hint="choose an output that boots by UEFI only"
        )
    return _find(arch, f"{arch.grub_bios}/{KERNEL}", given).parent


def find_efi_grub(arch: Arch, *, given: Path | None = None) -> Path:
    """Return the EFI image of GRUB for `arch`; `given` is searched first.

    Raises InputError if there is none, or it is not an EFI binary for that architecture.
    """
    path = _find(arch, efi_file(arch), given)
    check_pe(path, machine=arch.pe_machine, what="GRUB")
    return path


def grub_version(path: Path) -> str | None:
    """Return the version in an EFI image or in the module `normal`."""
    with path.open("rb") as file:
        found = _VERSION.search(file.read(_LARGEST))
    return found[1].decode("ascii") if found else None


def _find(arch: Arch, name: str, given: Path | None) -> Path:
    for place in _places(arch, given):
        if (place / name).is_file():
            return place / name
    raise BootAssetError(
        f"GRUB for {arch.name}: {name} was not found",
        hint=f"run `imager assets fetch --arch {arch.name}`, or give a folder with --assets that"
        f" has {arch.name}/{GRUB_FOLDER}/{name}",
    )


def _places(arch: Arch, given: Path | None) -> Iterator[Path]:
    """Yield the candidates for GRUB's folder, in search order."""
    for place in (*([given] if given else []), *asset_places(None)):
        yield place / arch.name / GRUB_FOLDER
        yield place / GRUB_FOLDER
    yield INSTALLED
