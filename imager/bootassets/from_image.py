"""Take boot assets out of a container image: Talos's imager, installer, or one made like them.

    usr/install/<arch>/{vmlinuz,initramfs.xz,systemd-boot.efi,systemd-stub.efi}
                                            imager, and installers before 1.10
    usr/install/<arch>/{vmlinuz.efi,systemd-boot.efi}
                                            installers since 1.10: a UKI
    usr/lib/grub/<platform>/                all of them

Kernel and initramfs of a unified kernel image are its sections `.linux` and `.initrd`, byte for
byte. Its stub cannot be taken out: what a UKI overwrites in the stub's headers is lost.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from imager.bootassets.errors import BootAssetError
from imager.bootassets.find import VERSION_FILE, Asset
from imager.bootassets.grub import GRUB_FOLDER, INSTALLED, MODULE_LIST, bios_files, efi_file
from imager.content.extents import Content
from imager.content.reading import iterate_bytes, read_content
from imager.content.tree import File
from imager.content.unpack import write_files
from imager.efi.pe import PeHeaders, content_headers
from imager.oci.rootfs import ImageRoot
from imager.oci.roottree import RootTree
from imager.support.arch import Arch
from imager.support.atomic import atomic_folder
from imager.support.folders import check_free_space, ensure_folder
from imager.support.units import GIB, KIB, MIB, format_size

_INSTALL = "usr/install"
_GRUB = str(INSTALLED.relative_to("/"))
# The signed one is what installers for SecureBoot had before 1.10.
_UKIS = ("vmlinuz.efi", "vmlinuz.efi.signed")
_FROM_UKI = {Asset.KERNEL: ".linux", Asset.INITRAMFS: ".initrd"}
_OS_RELEASE = ".osrel"
_VERSION_ID = re.compile(r'^VERSION_ID="?([^"\s]+)"?$', re.MULTILINE)
# Talos's own label, and the one of the OCI image specification, which a base image may have set.
_TALOS_LABEL, _IMAGE_LABEL = "alpha.talos.dev/version", "org.opencontainers.image.version"
_LARGEST, _LARGEST_GRUB, _LARGEST_TEXT = 4 * GIB, 16 * MIB, 64 * KIB
_HINT = (
    "give an image with boot assets, such as ghcr.io/siderolabs/imager:v1.9.0, or an installer; "
    "an installer-base image has none"
)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a tree has: boot assets, a UKI, and GRUB's files by their path in its folder."""

    assets: Mapping[Asset, File]
    uki: File | None
    grub: Mapping[str, File]
    version: File | None

    @property
    def bootable(self) -> bool:
        """Whether there are kernel and initramfs."""
        return self.uki is not None or self.assets.keys() >= _FROM_UKI.keys()


def take_assets(
    image: ImageRoot, arch: Arch, folder: Path, *, is_version: Callable[[str], bool]
) -> None:
    """Write the boot assets of `image` for `arch` to `folder`, in one atomic step.

    The result has the layout of `imager.bootassets.find`, with `version` if the image says it in a
    form that `is_version` accepts. Layers are fetched until everything is found. Raises InputError
    if there is no kernel or initramfs, or the image is damaged; HostError if the disk is full.
    """
    found = _found(image, arch)
    files = dict(_targets(found))
    for name, file in files.items():
        limit = _LARGEST_GRUB if name.startswith(GRUB_FOLDER) else _LARGEST
        if file.content.size > limit:
            size = format_size(file.content.size)
            raise BootAssetError(f"{image.where}: {file.path} is too large for its kind: {size}")
    ensure_folder(folder.parent)
    total = sum(file.content.size for file in files.values())
    check_free_space(folder.parent, total + (found.uki.content.size if found.uki else 0))
    with atomic_folder(folder) as made:
        for name in files:
            (made / name).parent.mkdir(parents=True, exist_ok=True)
        write_files({made / name: file.content for name, file in files.items()})
        uki_version = _split_uki(made / _UKIS[0], f"{image.where}: {_UKIS[0]}")
        clues = _clues(found, image.labels, uki_version)
        if version := next(filter(is_version, clues), None):
            (made / VERSION_FILE).write_text(f"{version}\n")


def _found(image: ImageRoot, arch: Arch) -> _Found:
    """Find what the image has; kernel and initramfs are those of the topmost layers with both."""
    system = None
    for top in image.tops():
        found = _find(top, arch)
        system = system or (found if found.bootable else None)
        if system:
            whole = replace(found, assets={**found.assets, **system.assets}, uki=system.uki)
            if _is_enough(whole, arch):
                return whole
    if system is None:
        raise _without(image, arch)
    return whole


def _find(tree: RootTree, arch: Arch) -> _Found:
    install = f"{_INSTALL}/{arch.name}"
    assets = {
        asset: file
        for asset in Asset
        if (file := tree.find(f"{install}/{asset.value}")) and file.content.size
    }
    ukis = [tree.find(f"{install}/{name}") for name in _UKIS]
    whole = assets.keys() >= _FROM_UKI.keys()
    return _Found(
        assets,
        None if whole else next(filter(None, ukis), None),
        dict(_grub_files(tree, arch)),
        tree.find(f"{install}/{VERSION_FILE}") or tree.find(f"{_INSTALL}/{VERSION_FILE}"),
    )


def _is_enough(found: _Found, arch: Arch) -> bool:
    """Whether no layer below can add anything; a UKI is in an image without a stub of its own."""
    wanted = {Asset.SD_BOOT} if found.uki else set(Asset)
    has_grub = arch.grub_bios is None or f"{arch.grub_bios}/{MODULE_LIST}" in found.grub
    return found.bootable and wanted <= found.assets.keys() and has_grub


def _grub_files(tree: RootTree, arch: Arch) -> Iterator[tuple[str, File]]:
    """Yield GRUB's files that are used: those for BIOS if all are there, and Debian's EFI image."""
    if arch.grub_bios and (listing := tree.find(f"{_GRUB}/{arch.grub_bios}/{MODULE_LIST}")):
        names = [f"{arch.grub_bios}/{name}" for name in _bios_files(listing)]
        files = [tree.find(f"{_GRUB}/{name}") for name in names]
        whole = [file for file in files if file]
        if names and len(whole) == len(names):
            yield from zip(names, whole, strict=True)
    if image := tree.find(f"{_GRUB}/{efi_file(arch)}"):
        yield efi_file(arch), image


def _bios_files(listing: File) -> tuple[str, ...]:
    """Return the names of GRUB's files for BIOS; empty if modules that we need are unknown."""
    if listing.content.size > _LARGEST_TEXT:
        return ()
    try:
        return bios_files(read_content(listing.content).decode("ascii", "replace"))
    except ValueError:
        return ()


def _targets(found: _Found) -> Iterator[tuple[str, File]]:
    """Yield the files to write, by their paths in the folder."""
    for asset, file in found.assets.items():
        # Kernel and initramfs are of one build.
        if not (found.uki and asset in _FROM_UKI):
            yield asset.value, file
    if found.uki:
        yield _UKIS[0], found.uki
    for name, file in found.grub.items():
        yield posixpath.join(GRUB_FOLDER, name), file


def _split_uki(uki: Path, where: str) -> str:
    """Replace a UKI, if there is one, by its kernel and initramfs; return its version, or ''."""
    if not uki.is_file():
        return ""
    content = Content.of_file(uki)
    headers = content_headers(content, name=where)
    parts = {asset: _section(content, headers, name) for asset, name in _FROM_UKI.items()}
    for asset, part in parts.items():
        if part is None:
            raise BootAssetError(f"{where} has no section {_FROM_UKI[asset]}", hint=_HINT)
    write_files({uki.with_name(asset.value): part for asset, part in parts.items() if part})
    release = _section(content, headers, _OS_RELEASE)
    text = _text(release) if release else ""
    uki.unlink()
    match = _VERSION_ID.search(text)
    return match[1] if match else ""


def _section(uki: Content, headers: PeHeaders, name: str) -> Content | None:
    """Return the contents of the first section `name`, which is that of the profile `main`."""
    for section in headers.sections:
        if section.name == name and 0 < section.virtual_size <= section.raw_size:
            return uki.slice(section.offset, section.virtual_size)
    return None


def _clues(found: _Found, labels: Mapping[str, str], uki_version: str) -> Iterator[str]:
    """Yield what may be the version of Talos, the surest first."""
    if found.version:
        yield _text(found.version.content)
    yield labels.get(_TALOS_LABEL, "")
    yield uki_version
    yield labels.get(_IMAGE_LABEL, "")


def _text(content: Content) -> str:
    start = content.slice(0, min(content.size, _LARGEST_TEXT))
    return b"".join(iterate_bytes(start)).decode("utf-8", "replace").strip()


def _without(image: ImageRoot, arch: Arch) -> BootAssetError:
    platform = image.platform
    what = f"{_INSTALL}/{arch.name} has neither {Asset.KERNEL.value} and {Asset.INITRAMFS.value}"
    other = f" (it is for {platform})" if platform and platform.architecture != arch.name else ""
    return BootAssetError(
        f"{image.where} has no boot assets for {arch.name}{other}: {what} nor {_UKIS[0]}",
        hint=_HINT,
    )
