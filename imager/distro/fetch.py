"""Fetch the embedded default boot assets: Debian's kernel and bootloaders, and our initramfs.

A set is the folder `<assets>/<arch>` with Talos's file names and `sources.json`, the record of
the exact packages that it was built from. The record is also a lock: passed back as `lock`, it
yields the same set, or an error. A lock that predates GRUB in the set yields one without GRUB.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from imager.bootassets.debian import DebianPackage
from imager.bootassets.find import Asset
from imager.bootassets.grub import GRUB_FOLDER, MODULE_LIST, bios_files, efi_file
from imager.bootassets.sources import RECORD, record_text
from imager.distro.deb import deb_files
from imager.distro.errors import UnusablePackageError
from imager.distro.flavors import WITNESS, Flavor, InitramfsInputs
from imager.distro.kmodules import KernelModule, load_order, module_name, read_module
from imager.distro.packages import FetchContext, PackageSet, get_packages
from imager.support.arch import Arch
from imager.support.atomic import atomic_folder
from imager.support.errors import InputError
from imager.support.folders import ensure_folder

_EFI_FOLDER = "usr/lib/systemd/boot/efi/"
_LIBRARY = "usr/lib/"
# Folders of the modules that boot media need; most others are in drivers/{gpu,net,media}.
_MODULE_FOLDERS = (
    "arch", "block", "crypto", "fs", "lib", "drivers/ata", "drivers/block", "drivers/cdrom",
    "drivers/char/tpm", "drivers/hid", "drivers/hv", "drivers/input", "drivers/message",
    "drivers/mmc", "drivers/nvme", "drivers/scsi", "drivers/usb", "drivers/virtio",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SetRequest:
    """The set to build: from exactly the packages of `lock`, a sources.json, else the newest."""

    arch: Arch
    flavor: Flavor = WITNESS
    lock: Path | None = None


@dataclass(frozen=True, slots=True)
class FetchedAssets:
    """A set of boot assets: its folder and the packages that it was built from."""

    folder: Path
    packages: tuple[DebianPackage, ...]


def fetch_assets(
    wanted: SetRequest,
    *,
    folder: Path,
    context: FetchContext,
    epoch: int,
) -> FetchedAssets:
    """Build the set `folder/<arch>` from Debian's packages, atomically replacing an older one.

    `epoch` is the time of the files in the initramfs, in seconds since 1970. Raises InputError for
    an invalid lock, or a folder that may not be replaced; DependencyError if apt, pip, the mirror
    or a package fails.
    """
    arch, flavor = wanted.arch, wanted.flavor
    target = folder / arch.name
    check_replaceable(target)
    packages = get_packages(arch, flavor.packages(), lock=wanted.lock, context=context)
    with context.waiting("Unpacking the kernel and building the initramfs"):
        assets = _make_assets(arch, flavor, packages, epoch=epoch, context=context)
    record = record_text(arch, epoch=epoch, packages=packages.packages, assets=assets)
    _put_in_place({**assets, RECORD: record.encode()}, target)
    return FetchedAssets(target, packages.packages)


def _make_assets(
    arch: Arch, flavor: Flavor, packages: PackageSet, *, epoch: int, context: FetchContext
) -> dict[str, bytes]:
    efi = dict(deb_files(packages.boot, folders=(_EFI_FOLDER,)))
    busybox = dict(deb_files(packages.busybox, folders=("bin/busybox", "usr/bin/busybox")))
    suffix = arch.efi_stub_suffix
    with tempfile.TemporaryDirectory(dir=context.scratch, prefix="modules-") as modules:
        kernel, order = _unpack_kernel(packages.kernel, flavor.modules(), Path(modules))
        parts = InitramfsInputs(arch, _one(busybox, "busybox"), order, packages.more, epoch)
        return {
            Asset.KERNEL.value: kernel,
            Asset.INITRAMFS.value: flavor.build(parts, context),
            Asset.SD_BOOT.value: _one(efi, f"systemd-boot{suffix}.efi"),
            Asset.SD_STUB.value: _one(efi, f"linux{suffix}.efi.stub"),
            **_grub(arch, packages.grub),
        }


def _grub(arch: Arch, debs: Sequence[Path]) -> dict[str, bytes]:
    """Return the required files of GRUB's packages, by their paths in GRUB's own folder."""
    wanted = [efi_file(arch), *([f"{arch.grub_bios}/"] if arch.grub_bios else [])]
    folders = tuple(f"{_LIBRARY}{GRUB_FOLDER}/{name}" for name in wanted)
    found = {
        path.removeprefix(_LIBRARY): data
        for deb in debs
        for path, data in deb_files(deb, folders=folders)
    }
    return {name: _needed(found, name) for name in _grub_names(arch, found)} if debs else {}


def _grub_names(arch: Arch, found: Mapping[str, bytes]) -> list[str]:
    """Return the required files of GRUB, by their names in a set."""
    names = [efi_file(arch)]
    if arch.grub_bios:
        modules = _needed(found, f"{GRUB_FOLDER}/{arch.grub_bios}/{MODULE_LIST}")
        try:
            names += [f"{arch.grub_bios}/{name}" for name in bios_files(modules.decode())]
        except ValueError as error:
            raise UnusablePackageError(f"Debian's package of GRUB: {error}") from error
    return [f"{GRUB_FOLDER}/{name}" for name in names]


def _needed(found: Mapping[str, bytes], name: str) -> bytes:
    if name not in found:
        raise UnusablePackageError(f"Debian's GRUB packages contain no {name}")
    return found[name]


def _one(files: Mapping[str, bytes], name: str) -> bytes:
    """Return the file called `name`, in any of its possible folders."""
    found = [data for path, data in files.items() if PurePosixPath(path).name == name]
    if len(found) != 1:
        raise UnusablePackageError(f"Debian's package contains {len(found)} files {name}, not one")
    return found[0]


def _unpack_kernel(
    deb: Path, wanted: Sequence[str], folder: Path
) -> tuple[bytes, list[KernelModule]]:
    """Return the kernel and the `wanted` modules in load order, unpacked into `folder`."""
    kernels: dict[str, bytes] = {}
    modules: dict[str, KernelModule] = {}
    builtin: frozenset[str] = frozenset()
    for path, data in deb_files(deb, folders=("boot/vmlinuz-", "lib/modules/", "usr/lib/modules/")):
        inside = path.partition("lib/modules/")[2].partition("/")[2]
        if path.startswith("boot/"):
            kernels[Asset.KERNEL.value] = data
        elif inside == "modules.builtin":
            builtin = frozenset(map(module_name, data.decode().splitlines()))
        elif _is_wanted_module(inside):
            unpacked = folder / PurePosixPath(inside).name
            unpacked.write_bytes(data)
            module = read_module(unpacked)
            modules[module.name] = module
    return _one(kernels, Asset.KERNEL.value), load_order(wanted, modules, builtin=builtin)


def _is_wanted_module(path: str) -> bool:
    parts = path.removeprefix("kernel/")
    return ".ko" in path and any(parts.startswith(f"{folder}/") for folder in _MODULE_FOLDERS)


def check_replaceable(target: Path) -> None:
    """Raise InputError unless the folder `target` is missing, empty, or a set that was fetched."""
    if (target.exists() and not target.is_dir()) or (
        target.parent.exists() and not target.parent.is_dir()
    ):
        raise InputError(
            f"{target} cannot be a folder: a file exists there",
            hint="choose another folder with --folder",
        )
    if target.is_dir() and any(target.iterdir()) and not (target / RECORD).is_file():
        raise InputError(
            f"{target} contains files that imager did not create",
            hint="choose another folder with --folder",
        )


def _put_in_place(files: Mapping[str, bytes], target: Path) -> None:
    """Replace the contents of the folder `target` with `files`, atomically."""
    ensure_folder(target.parent)
    with atomic_folder(target) as folder:
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
