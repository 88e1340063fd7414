"""System extensions and the initramfs that they go into, made without the code under test."""

from __future__ import annotations

import functools
import io
import os
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import yaml

from imager.content.extents import Content
from imager.content.rootfiles import RootFiles
from imager.content.tree import File, Link, Tree
from tests.lib.tools.cli import real_assets, tool

# The name of an image for messages, and its files.
Image = tuple[str, RootFiles]
KERNEL = "6.1.0-talos"
EPOCH = 1_704_067_200


def root_files(
    files: Mapping[str, bytes | str], *, labels: Mapping[str, str] | None = None
) -> RootFiles:
    """Return files by path: bytes are a file's data, text is where a link points."""
    return RootFiles(
        Tree.of(
            [
                File(path, Content.of_bytes(data), mode=0o755 if "/bin/" in path else 0o644)
                for path, data in files.items()
                if isinstance(data, bytes)
            ],
            nodes=[Link(path, data) for path, data in files.items() if isinstance(data, str)],
        ),
        labels or {},
    )


def manifest(name: str, **metadata: object) -> bytes:
    """Return the manifest of an extension for all versions, unless it is said otherwise."""
    fields = {
        "name": name,
        "version": f"1.0.{len(name)}",
        "author": "Tests",
        "description": f"The extension {name}.",
        "compatibility": {"talos": {"version": ">= v1.0.0"}},
    }
    return yaml.safe_dump({"version": "v1alpha1", "metadata": fields | metadata}).encode()


def extension_image(
    name: str,
    files: Mapping[str, bytes | str],
    *,
    labels: Mapping[str, str] | None = None,
    **metadata: object,
) -> Image:
    """Return an extension's image."""
    inside = {f"rootfs/{path}": data for path, data in files.items()}
    labelled = {f"rootfs/{path}": label for path, label in (labels or {}).items()}
    image = root_files({"manifest.yaml": manifest(name, **metadata)} | inside, labels=labelled)
    return f"{name}.tar", image


@functools.cache
def real_modules() -> Mapping[str, bytes]:
    """Return the kernel modules of the trial assets by name, `usbcore` for example."""
    initramfs = real_assets() / "amd64/initramfs.xz"
    plain = subprocess.run(["zstd", "-dcq", initramfs], check=True, capture_output=True).stdout
    listed = _bsdtar(plain, "-tf", "-").decode().split()
    names = [path for path in listed if path.endswith(".ko")]
    return {
        path.removeprefix("modules/").removesuffix(".ko"): _bsdtar(plain, "-xOf", "-", path)
        for path in names
    }


def _bsdtar(archive: bytes, *argv: str) -> bytes:
    done = subprocess.run(["bsdtar", *argv], input=archive, check=True, capture_output=True)
    return done.stdout


def base_initramfs(
    path: Path,
    modules: Mapping[str, bytes],
    *,
    kernel: str = KERNEL,
    folder: str = "usr/lib/modules",
    packer: str = "zstd",
    root: Mapping[str, bytes] | None = None,
    started: Mapping[str, bytes] | None = None,
) -> Path:
    """Make an initramfs like Talos's: init, and rootfs.sqsh with `modules` by path.

    `root` has more files of rootfs.sqsh, and `started` those of the initramfs, by path.
    """
    work = path.with_name(f"{path.name}.work")
    inside = {f"{folder}/{kernel}/{name}": data for name, data in modules.items()}
    write_files(work / "root", {"etc/os-release": b"ID=talos\n", **inside, **(root or {})})
    boot = work / "boot"
    write_files(boot, {"init": b"#!/bin/sh\n", **(started or {})})
    subprocess.run(
        ["mksquashfs", work / "root", boot / "rootfs.sqsh", "-quiet", "-no-progress", "-noappend"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    paths = [".", *sorted(path.relative_to(boot).as_posix() for path in boot.rglob("*"))]
    names = b"".join(os.fsencode(f"{path}\n") for path in paths)
    cpio = ["cpio", "--quiet", "-o", "-H", "newc"]
    archive = subprocess.run(cpio, cwd=boot, input=names, check=True, capture_output=True).stdout
    compress = {"zstd": ["zstd", "-qc"], "xz": ["xz", "-c", "-C", "crc32"], "gzip": ["gzip", "-c"]}
    if packer in compress:
        packed = subprocess.run(compress[packer], input=archive, check=True, capture_output=True)
        archive = packed.stdout
    path.write_bytes(archive)
    return path


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write executable files below `folder`, by path."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755)


def split_initramfs(data: bytes, base: bytes) -> tuple[bytes, bytes]:
    """Return what comes before and after the untouched `base`."""
    start = data.index(base)
    return data[:start], data[start + len(base) :]


def unpacked_cpio(archive: bytes, folder: Path) -> list[str]:
    """Unpack a plain archive with cpio(1) and return the names in it, in order."""
    folder.mkdir()
    listed = subprocess.run(
        ["cpio", "--quiet", "-t"], input=archive, check=True, capture_output=True
    ).stdout
    subprocess.run(
        ["cpio", "--quiet", "-id", "--no-absolute-filenames"],
        input=archive,
        cwd=folder,
        check=True,
    )
    return listed.decode().split()


def squashfs_files(image: Path, folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Unpack an image with unsquashfs, and yield each path with its state, without the root."""
    subprocess.run(
        ["unsquashfs", "-quiet", "-no-progress", "-dest", folder, image],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    for path in sorted(folder.rglob("*")):
        yield path.relative_to(folder).as_posix(), path.lstat()


def layer_tar(path: Path, members: Mapping[str, bytes | str | None], *, label: str = "") -> Path:
    """Write a layer: bytes are a file, text is where a link points, None is a private folder.

    With `label`, every member has it as SELinux label, in the way of GNU tar and BuildKit.
    """
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, what in members.items():
            info = tarfile.TarInfo(name)
            if label:
                info.pax_headers = {"SCHILY.xattr.security.selinux": label}
            if isinstance(what, str):
                info.type, info.linkname = tarfile.SYMTYPE, what
            elif what is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o700
            else:
                info.size, info.mode = len(what), 0o755
            tar.addfile(info, io.BytesIO(what) if isinstance(what, bytes) else None)
    return path


def image_layout(folder: Path, layers: Iterable[Path]) -> Path:
    """Make an OCI layout with umoci: an image v1 of `layers`, compressed by gzip."""
    image = f"{folder}:v1"
    tool("umoci", "init", "--layout", folder)
    tool("umoci", "new", "--image", image)
    for layer in layers:
        tool("umoci", "raw", "add-layer", "--image", image, layer)
    return folder
