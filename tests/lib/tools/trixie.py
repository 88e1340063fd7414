"""What Debian 13 has newer: systemd-boot with profiles, systemd-measure, mkosi."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from imager.distro.apt import find_mirror, open_apt
from imager.distro.deb import deb_files
from imager.support.arch import AMD64
from tests.lib.tools.cli import REPOSITORY, tool

_DOWNLOADS = REPOSITORY / ".cache/trixie-debs"
_EFI = "usr/lib/systemd/boot/efi"
# With its own C library, since it does not start with an older one.
_LIBRARIES = ("libsystemd-shared", "libssl3t64", "libc6")
_MEASURE_PACKAGES = ("systemd", *_LIBRARIES)
_MKOSI_PACKAGES = ("mkosi", "systemd-repart", *_LIBRARIES)


def make_trixie_assets(folder: Path, *, default: Path) -> Path:
    """Make the set `folder`/amd64 of `default`'s kernel and trixie's systemd-boot and stub."""
    place = folder / "amd64"
    place.mkdir(parents=True)
    for name in ("vmlinuz", "initramfs.xz"):
        shutil.copy(default / "amd64" / name, place)
    (deb,) = _debs(["systemd-boot-efi"])
    files = dict(deb_files(deb, folders=(f"{_EFI}/",)))
    (place / "systemd-boot.efi").write_bytes(files[f"{_EFI}/systemd-bootx64.efi"])
    (place / "systemd-stub.efi").write_bytes(files[f"{_EFI}/linuxx64.efi.stub"])
    return folder


def unpack_measure(folder: Path) -> tuple[str | Path, ...]:
    """Unpack systemd-measure into `folder` and return the words that start it."""
    for deb in _debs(_MEASURE_PACKAGES):
        tool("dpkg-deb", "-x", deb, folder)
    return _started(folder, "usr/lib/systemd/systemd-measure")


def _started(folder: Path, program: str) -> tuple[str | Path, ...]:
    """Return the words that start an unpacked program with its own C library."""
    libraries = folder / "usr/lib/x86_64-linux-gnu"
    path = f"{libraries}:{libraries}/systemd:/usr/lib/x86_64-linux-gnu"
    return (libraries / "ld-linux-x86-64.so.2", "--library-path", path, folder / program)


def run_mkosi(project: Path, tools: Path) -> None:
    """Let mkosi build the image that the folder `project` describes; `tools` is a new folder.

    It shows its sandbox `tools`, where systemd-repart is.
    """
    unpacked = tools / "unpacked"
    for deb in _debs(_MKOSI_PACKAGES):
        tool("dpkg-deb", "-x", deb, unpacked)
    repart = tools / "systemd-repart"
    words = " ".join(map(str, _started(unpacked, "usr/bin/systemd-repart")))
    repart.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    repart.chmod(0o755)
    tool(
        "env", f"PYTHONPATH={unpacked / 'usr/lib/python3/dist-packages'}", sys.executable,
        "-m", "mkosi", f"--directory={project}", f"--extra-search-path={tools}",
        f"--workspace-directory={tools}", f"--package-cache-dir={tools}", "build",
    )  # fmt: skip


def _debs(names: Iterable[str]) -> list[Path]:
    """Return the .debs of packages, which are kept and not asked for again."""
    _DOWNLOADS.mkdir(parents=True, exist_ok=True)
    missing = [name for name in names if not _downloaded(name)]
    if missing:
        with tempfile.TemporaryDirectory(dir=_DOWNLOADS, prefix=".apt-") as folder:
            place = Path(folder, "apt")
            apt = open_apt(AMD64, mirror=find_mirror(), folder=place, suite="trixie")
            for name in missing:
                target = Path(folder, name)
                target.mkdir()
                deb = apt.download(apt.show(name)[0][0], target)
                deb.replace(_DOWNLOADS / deb.name)
    return [_downloaded(name)[-1] for name in names]


def _downloaded(name: str) -> list[Path]:
    return sorted(_DOWNLOADS.glob(f"{name}_*.deb"))
