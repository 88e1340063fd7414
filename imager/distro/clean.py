"""Find and remove what `imager assets fetch` built and downloaded, and what images contained."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from imager.bootassets.sources import RECORD, read_lock
from imager.distro.flavors import FLAVORS, NODE
from imager.distro.wheels import locked_wheels
from imager.support.arch import ARCHES, Arch
from imager.support.errors import HostError, InputError
from imager.support.folders import used_space
from imager.support.partials import is_in_use

_DOWNLOAD = re.compile(r"([0-9a-f]{64})\.(deb|whl|squashfs)", re.ASCII)
# Boot assets by the digest of their image, and the digests of tags.
_OF_IMAGE = re.compile(r"(sha256|tag)-[0-9a-f]{64}", re.ASCII)
# Leftovers of earlier releases and killed runs.
_LEFTOVER = re.compile(r"partial-.*|squashfs-.*|\..*\.partial", re.ASCII)


@dataclass(frozen=True, slots=True)
class Removal:
    """A file or folder to remove, and its disk usage in bytes."""

    path: Path
    size: int


def plan_cleaning(
    assets: Path, packages: Path, images: Path, *, stale: bool
) -> tuple[Removal, ...]:
    """Return what to remove: the sets of boot assets under `assets`, those of images, downloads.

    With `stale`, only downloads that none of the sets was built from. Never includes boot assets
    without a record of ours, such as Talos's, nor files of a download in progress.
    """
    sets = tuple(_sets(assets))
    needed = {name for each in sets for name in _downloads(each)} if stale else set()
    paths = [] if stale else [folder for folder, _ in sets]
    if images.is_dir() and not stale:
        paths += [path for path in sorted(images.iterdir()) if _OF_IMAGE.fullmatch(path.name)]
    if packages.is_dir():
        paths += [path for path in sorted(packages.iterdir()) if _is_removable(path, needed)]
    return tuple(Removal(path, used_space(path)) for path in paths)


def clean(removals: tuple[Removal, ...]) -> None:
    """Remove the planned files, and folders that become empty; raises HostError."""
    for removal in removals:
        path = removal.path
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise HostError(f"cannot remove {path}: {error.strerror}") from error
        with suppress(OSError):  # not empty
            path.parent.rmdir()


def _sets(assets: Path) -> Iterator[tuple[Path, Arch]]:
    for flavor in FLAVORS:
        for arch in ARCHES:
            folder = assets / flavor.folder / arch.name
            with suppress(InputError):  # not ours
                read_lock(folder / RECORD, arch)
                yield folder, arch


def _downloads(made: tuple[Path, Arch]) -> Iterator[str]:
    """Yield the names of the downloads that a set was built from."""
    folder, arch = made
    yield from (f"{package.sha256}.deb" for package in read_lock(folder / RECORD, arch))
    if folder.parent.name == NODE.folder:
        yield from (f"{wheel.sha256}.whl" for wheel in locked_wheels(arch))
        yield "squashfs"  # its name does not identify its sources


def _is_removable(path: Path, needed: set[str]) -> bool:
    if found := _DOWNLOAD.fullmatch(path.name):
        return path.name not in needed and found[2] not in needed
    return bool(_LEFTOVER.fullmatch(path.name)) and not is_in_use(path)
