"""Boot assets made from other packages than the embedded default, in Talos's layout.

The kernel is Debian's cloud flavour, which has fewer drivers, and the initramfs is compressed by
xz, as Talos's name for it promises; systemd-boot and its stub are those of the default.
"""

from __future__ import annotations

import lzma
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import zstandard

from imager.distro.apt import Apt, find_mirror, open_apt
from imager.distro.deb import deb_files
from imager.distro.initramfs import witness_initramfs, witness_modules
from imager.distro.kmodules import KernelModule, load_order, module_name, read_module
from imager.support.arch import AMD64

_KERNEL = "linux-image-*-cloud-amd64"
_BUSYBOX = "busybox-static"


def make_other_assets(folder: Path, *, default: Path, downloads: Path) -> Path:
    """Make the set `folder`/amd64 and return `folder`; `default` has the default's amd64.

    The packages are kept in `downloads` and not asked for again.
    """
    place = folder / "amd64"
    place.mkdir(parents=True)
    for name in ("systemd-boot.efi", "systemd-stub.efi"):
        shutil.copy(default / "amd64" / name, place)
    shutil.copytree(default / "amd64/grub", place / "grub")
    kernel, busybox = _packages(downloads)
    files = dict(deb_files(kernel, folders=("boot/vmlinuz-", "lib/modules/")))
    (place / "vmlinuz").write_bytes(_only(files, "boot/vmlinuz-.*"))
    with tempfile.TemporaryDirectory() as modules:
        order = _modules(files, Path(modules))
        program = _only(dict(deb_files(busybox, folders=("bin/", "usr/bin/"))), ".*bin/busybox")
        initramfs = witness_initramfs(program, order, epoch=0)
    cpio = zstandard.ZstdDecompressor().decompress(initramfs)
    # The kernel's own xz decoder knows no check but CRC32.
    packed = lzma.compress(cpio, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, preset=1)
    (place / "initramfs.xz").write_bytes(packed)
    return folder


def _only(files: Mapping[str, bytes], pattern: str) -> bytes:
    """Return the one file whose whole path matches `pattern`."""
    (found,) = (data for name, data in files.items() if re.fullmatch(pattern, name))
    return found


def _modules(files: Mapping[str, bytes], folder: Path) -> list[KernelModule]:
    """Return what there is of the modules that the witness wants, unpacked into `folder`."""
    builtin = _only(files, ".*/modules.builtin").decode().splitlines()
    modules = {}
    for name, data in files.items():
        if name.endswith(".ko"):
            path = folder / name.rpartition("/")[2]
            path.write_bytes(data)
            module = read_module(path)
            modules[module.name] = module
    wanted = [f"{name.removesuffix('?')}?" for name in witness_modules()]
    return load_order(wanted, modules, builtin=frozenset(map(module_name, builtin)))


def _packages(downloads: Path) -> tuple[Path, Path]:
    """Return the .debs of the kernel and of busybox."""
    if not (found := _downloaded(downloads)):
        downloads.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=downloads, prefix=".apt-") as folder:
            apt = open_apt(AMD64, mirror=find_mirror(), folder=Path(folder, "apt"))
            for name in (_kernel_name(apt), _BUSYBOX):
                target = Path(folder, name)
                target.mkdir()
                deb = apt.download(apt.show(name)[0][0], target)
                deb.replace(downloads / deb.name)
        found = _downloaded(downloads)
    assert found, f"{downloads} has not one kernel and one {_BUSYBOX}"
    return found


def _kernel_name(apt: Apt) -> str:
    ((_, depends),) = apt.show("linux-image-cloud-amd64")
    found = re.search(r"linux-image-\S+", depends)
    assert found, depends
    return found[0]


def _downloaded(downloads: Path) -> tuple[Path, Path] | None:
    kernels = sorted(downloads.glob(f"{_KERNEL}_*.deb"))
    tools = sorted(downloads.glob(f"{_BUSYBOX}_*.deb"))
    return (kernels[-1], tools[-1]) if kernels and tools else None
