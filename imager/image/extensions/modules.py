"""Merge the kernel modules of system extensions with those of Talos.

A machine has one list of modules with their dependencies (`modules.dep` and others, see depmod(8)).
kmod's depmod makes it for all modules together; it is the content of one more extension.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imager.bootassets.errors import BootAssetError
from imager.content.extents import Content, FileRange
from imager.content.reading import hash_content, iterate_bytes
from imager.content.rootfiles import RootFiles
from imager.content.tar import open_tar, plan_tar
from imager.content.tar_source import TarPlace
from imager.content.tree import ROOT, File, Tree
from imager.image.extensions.extension import SUBJECT, Extension
from imager.image.extensions.initramfs_parts import initramfs_trees
from imager.image.extensions.kept import kept_file
from imager.image.extensions.manifest import Metadata
from imager.support.errors import InvalidExtensionsError
from imager.support.tools import run_tool

NAME = "modules.dep"
_LISTS = "modules."
_ORDER = "modules.order"
_ROOTFS = "rootfs.sqsh"
# Talos's hack/extra-modules.conf: modules in extras/ replace those of the same name.
_CONFIG = "search extras built-in\n"
_UNSQUASHFS = ("unsquashfs", "-no-progress", "-no-xattrs", "-quiet")
# Where depmod looks below its base folder.
_MODULES = "lib/modules"
_MODULE_SUFFIXES = (".ko", ".ko.gz", ".ko.xz", ".ko.zst")


@dataclass(frozen=True, slots=True)
class _Addition:
    """The kernel modules of an extension, in folders named after kernel versions."""

    name: str
    tree: Tree


def merged_modules(
    extensions: Sequence[Extension], folder: str, *, initramfs: Path, cache: Path, scratch: Path
) -> Extension | None:
    """Return the extension with the lists of all modules, or None if no extension has any.

    `folder` has the modules, in an extension as in Talos's root file system, which is in
    `initramfs`. The result is kept in `cache`. Raises InvalidExtensionsError if an extension is
    for another kernel, BootAssetError if Talos's modules cannot be read, DependencyError if
    depmod or unsquashfs is missing or fails.
    """
    additions = [
        _Addition(each.metadata.name, each.root.tree.below(folder))
        for each in extensions
        if folder in each.root.tree.entries
    ]
    if not any(each.tree.files for each in additions):
        return None
    path = cache / f"{_key(additions, folder, initramfs)}.modules"
    if not path.is_file():
        with tempfile.TemporaryDirectory(dir=scratch, prefix="modules-") as private:
            made = _lists(additions, folder, initramfs, Path(private))
            kept_file(path, lambda: iterate_bytes(plan_tar(made, timestamp=0).content))
    tree = open_tar(TarPlace(FileRange(path)))
    (kernel,) = tree.entries[ROOT]
    metadata = Metadata(
        name=NAME,
        version=kernel,
        author="Talos Machinery",
        description="Combined modules.dep for all extensions",
    )
    return Extension(metadata, RootFiles(tree.under(folder)).selected(lambda _: True))


def _key(additions: Iterable[_Addition], folder: str, initramfs: Path) -> str:
    """Return the digest of all that determines the lists."""
    version = run_tool(["depmod", "--version"], package="kmod")
    key = hashlib.sha256(b"\0".join([folder.encode(), _CONFIG.encode(), version]))
    parts = [plan_tar(each.tree, timestamp=0).content for each in additions]
    for content in (Content.of_file(initramfs), *parts):
        key.update(hash_content(content))
    return key.hexdigest()


def _lists(additions: Iterable[_Addition], folder: str, initramfs: Path, private: Path) -> Tree:
    """Return the lists of all modules, in the folder of their kernel version."""
    base = private / "base"
    place = base / _MODULES
    kernel = _unpacked_modules(folder, initramfs, private, place)
    _check_kernels(additions, kernel)
    for addition in additions:
        for file in addition.tree.files:
            _write_file(place / file.path, file.content)
    modules = place / kernel
    order = modules / _ORDER
    given = order.read_bytes() if order.is_file() else None
    order.write_text("".join(f"{name}\n" for name in ordered(modules, given or b"")))
    _depmod(base, kernel, private)
    if given is None:
        order.unlink()
    else:
        order.write_bytes(given)
    return Tree.of(
        File(f"{kernel}/{path.name}", Content.of_file(path))
        for path in sorted(modules.iterdir())
        if path.name.startswith(_LISTS) and path.is_file()
    )


def _unpacked_modules(folder: str, initramfs: Path, private: Path, place: Path) -> str:
    """Unpack Talos's modules to the new folder `place`; return their kernel version."""
    archives = private / "archives"
    archives.mkdir()
    rootfs = _rootfs(initramfs, archives)
    unpacked = private / "unpacked"
    offset = ("-offset", str(rootfs.offset)) if rootfs.offset else ()
    run_tool(
        [*_UNSQUASHFS, *offset, "-dest", unpacked, rootfs.path, folder], package="squashfs-tools"
    )
    place.parent.mkdir(parents=True)
    if not (unpacked / folder).is_dir():
        raise _unusable(initramfs, f"there are no kernel modules in /{folder}")
    (unpacked / folder).rename(place)
    _remove_links(place)
    # What depmod of another distribution reads.
    (place.parents[1] / "usr").symlink_to(".")
    kernels = sorted(path.name for path in place.iterdir() if path.is_dir())
    if len(kernels) != 1:
        named = ", ".join(kernels) or "none"
        raise _unusable(initramfs, f"it has modules of {named}, not of one kernel version")
    return kernels[0]


def _rootfs(initramfs: Path, scratch: Path) -> FileRange:
    """Return where Talos's root file system is, as a squashfs image."""
    found = [
        file
        for tree in initramfs_trees(initramfs, scratch)
        for file in tree.files
        if file.path == _ROOTFS
    ]
    match [extent.source for file in found[-1:] for extent in file.content.extents]:
        case [FileRange() as place]:
            return place
    raise _unusable(initramfs, f"it has no {_ROOTFS}")


def _unusable(initramfs: Path, problem: str) -> BootAssetError:
    return BootAssetError(
        f"boot asset {initramfs}: {problem}, so the modules of extensions cannot be merged",
        hint="give Talos's boot assets: the trial ones are not Talos",
    )


def _remove_links(folder: Path) -> None:
    """Remove links, so that nothing is read or written through them."""
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root, name)
            if path.is_symlink():
                path.unlink()
        Path(root).chmod(stat.S_IRWXU)


def _check_kernels(additions: Iterable[_Addition], kernel: str) -> None:
    problems = [
        f"{addition.name}: it has modules for Linux {other}, but Talos has {kernel}"
        for addition in additions
        for other in addition.tree.entries[ROOT]
        if other != kernel
    ]
    if problems:
        raise InvalidExtensionsError(
            SUBJECT, problems, hint="take the extensions that are made for the same Talos release"
        )


def _write_file(path: Path, content: Content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.writelines(iterate_bytes(content))


def ordered(modules: Path, given: bytes) -> Iterator[str]:
    """Yield the lines of `given`, a modules.order, then the other modules in `modules` by path.

    depmod would take the others in the order of the file system, which differs between machines.
    """
    listed = given.decode(errors="surrogateescape").splitlines()
    yield from listed
    found = (
        path.relative_to(modules).as_posix()
        for path in modules.rglob("*")
        if path.name.endswith(_MODULE_SUFFIXES)
    )
    yield from sorted(set(found) - {*listed})


def _depmod(base: Path, kernel: str, private: Path) -> None:
    config = private / "depmod.conf"
    config.write_text(_CONFIG)
    run_tool(["depmod", "--all", "--basedir", base, "--config", config, kernel], package="kmod")
