"""The Debian packages of the embedded default, and the cache of their .debs."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from imager.bootassets.debian import DebianPackage
from imager.bootassets.sources import read_lock
from imager.distro.apt import Apt, find_mirror, matches, open_apt
from imager.distro.errors import UnusablePackageError
from imager.support.arch import Arch
from imager.support.errors import DependencyError, InputError
from imager.support.folders import ensure_folder
from imager.support.partials import partial_folder
from imager.support.units import format_size

_BOOT = "systemd-boot-efi"
_BUSYBOX = "busybox-static"
_KERNEL = re.compile(r"linux-image-[0-9][a-z0-9.+-]*")
_GRUB_BIOS = "grub-pc-bin"


@dataclass(frozen=True, slots=True)
class FetchContext:
    """How to download packages.

    `cache` stores .debs by SHA-256, so that each is downloaded once; `scratch` is for temporary
    folders; `mirror` is a URL, or None for the host's mirror; `waiting` receives a description of
    the wait during its context.
    """

    cache: Path
    scratch: Path
    mirror: str | None = None
    waiting: Callable[[str], AbstractContextManager[object]] = nullcontext


@dataclass(frozen=True, slots=True)
class PackageSet:
    """The packages, each with its .deb; locks of older sets have no `grub` packages.

    `more` are those of the flavor, by name.
    """

    kernel: Path
    boot: Path
    busybox: Path
    grub: tuple[Path, ...]
    more: Mapping[str, Path]
    packages: tuple[DebianPackage, ...]


def get_packages(
    arch: Arch, more: Sequence[str] = (), *, lock: Path | None, context: FetchContext
) -> PackageSet:
    """Return the newest packages, or exactly those of `lock`, downloading what is not cached.

    `more` are the names of packages in addition to those of every set.
    Raises InputError for an invalid lock, DependencyError if the mirror fails or lacks a package of
    the lock.
    """
    cache = context.cache
    ensure_folder(cache)
    packages = read_lock(lock, arch) if lock else ()
    if not packages or not all(matches(_cached(cache, p), p) for p in packages):
        with tempfile.TemporaryDirectory(dir=context.scratch, prefix="apt-") as folder:
            with context.waiting("Reading Debian's package index"):
                mirror = context.mirror or find_mirror()
                apt = open_apt(arch, mirror=mirror, folder=Path(folder, "apt"))
                packages = packages or _newest(apt, arch, more)
            for package in packages:
                _download(apt, package, locked=lock is not None, context=context)
    return _package_set(arch, packages, more, cache)


def _newest(apt: Apt, arch: Arch, more: Sequence[str]) -> tuple[DebianPackage, ...]:
    # The kernel package's name changes with each ABI; this metapackage depends on the current one.
    ((_, depends),) = apt.show(f"linux-image-{arch.name}")
    found = _KERNEL.search(depends)
    if found is None:
        raise UnusablePackageError(f"linux-image-{arch.name} depends on no kernel: {depends!r}")
    names = (found[0], _BOOT, _BUSYBOX, *_grub_names(arch), *more)
    return tuple(package for package, _ in apt.show(*names))


def _grub_names(arch: Arch) -> tuple[str, ...]:
    efi = f"grub-efi-{arch.name}-bin"
    return (efi, _GRUB_BIOS) if arch.grub_bios else (efi,)


def _download(apt: Apt, package: DebianPackage, *, locked: bool, context: FetchContext) -> None:
    cached = _cached(context.cache, package)
    if matches(cached, package):
        return
    what = f"{package.name} {package.version} ({format_size(package.size)})"
    with context.waiting(f"Downloading {what}"), partial_folder(cached) as folder:
        try:
            apt.download(package, folder).replace(cached)
        except DependencyError as error:
            hint = "the mirror may have newer ones: run again without --locked" if locked else ""
            raise UnusablePackageError(error.message, hint=error.hint or hint) from error


def _cached(cache: Path, package: DebianPackage) -> Path:
    return cache / f"{package.sha256}.deb"


def _package_set(
    arch: Arch, packages: Sequence[DebianPackage], more: Sequence[str], cache: Path
) -> PackageSet:
    debs = {package.name: _cached(cache, package) for package in packages}
    kernels = [name for name in debs if _KERNEL.fullmatch(name)]
    needed = (_BOOT, _BUSYBOX, *more)
    if len(kernels) != 1 or not debs.keys() >= set(needed):
        raise InputError(
            f"the lock must contain one kernel and {', '.join(needed)}, and has {', '.join(debs)}",
            hint="the lock may be for another flavor: pass --flavor",
        )
    grub = tuple(debs[name] for name in _grub_names(arch) if name in debs)
    return PackageSet(
        kernel=debs[kernels[0]],
        boot=debs[_BOOT],
        busybox=debs[_BUSYBOX],
        grub=grub,
        more={name: debs[name] for name in more},
        packages=tuple(packages),
    )
