"""Overlays for boards: an executable of the board's makers adds firmware to a disk.

https://github.com/siderolabs/talos, pkg/machinery/overlay. An overlay image has `artifacts/`,
`installers/NAME` (static executables) and `profiles/`. `NAME get-options` reads the user's options
and prints kernel arguments and where partitions may begin; `NAME install` copies files into
`boot/EFI` of a folder, and may write to a disk. Here both are empty and in a sandbox: what is in
them afterwards is planned into the output, for every bootloader. An installer image carries the
overlay, and a machine that it upgrades runs the installer itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from imager.content.extents import Content, Extent, FileRange
from imager.content.folder import open_folder
from imager.content.ranges import data_ranges
from imager.content.rootfiles import RootFiles
from imager.content.tree import File, Tree, name_of, parent
from imager.content.unpack import write_tree
from imager.image.errors import OverlayFailedError
from imager.support.arch import Arch
from imager.support.errors import ImagerError
from imager.support.sandbox import Sandbox
from imager.support.units import MIB, align_up

_SECTOR = 512
_ARTIFACTS, _INSTALLERS = "artifacts", "installers"
_INSIDE, _IMAGE = "/overlay", "image"
_WORK, _WORK_FOLDER = "/work", "work"
_DISK, _PREFIX = "disk.raw", "prefix"
_ESP = "boot/EFI"
# Firmware is at most some megabytes from the start of a disk.
_DISK_SIZE = 1 << 30
_LARGEST_OFFSET = 1 << 30
# Where an installer image has the overlay.
_CARRIED = "overlay"
_PERMISSIONS = 0o777


@dataclass(frozen=True, slots=True)
class Overlay:
    """The files of an overlay image for machines of `arch`, and the user's `options`.

    `name` is that of the executable in `installers/`.
    """

    files: RootFiles
    name: str
    arch: Arch
    options: Mapping[str, Any]

    def installer(self) -> File:
        """Return the executable; raises OverlayFailedError if the image does not have it."""
        there = {
            name_of(file.path): file
            for file in self.files.tree.files
            if parent(file.path) == _INSTALLERS
        }
        if self.name not in there:
            raise OverlayFailedError(
                f"the overlay image has no installer {self.name!r}",
                hint=f"there are: {', '.join(sorted(there)) or 'none'}; choose one with"
                " --overlay-name",
            )
        return there[self.name]


@dataclass(frozen=True, slots=True)
class InstalledOverlay:
    """What an overlay adds to a disk: kernel arguments, files of the ESP, and bytes.

    Partitions begin at byte `offset` or later; `firmware` is the disk's content before them.
    """

    name: str
    kernel_args: tuple[str, ...]
    offset: int
    esp: Tree
    firmware: Content


def ask_overlay(overlay: Overlay, scratch: Path) -> InstalledOverlay:
    """Return what an output without a partition EFI takes of the overlay: its kernel arguments.

    The overlay runs in a sandbox, out of the empty folder `scratch`; raises as `install_overlay`.
    """
    answer = _prepared(overlay, scratch)
    return InstalledOverlay(overlay.name, answer.kernel_args, MIB, Tree.of(), Content(MIB))


def install_overlay(overlay: Overlay, scratch: Path) -> InstalledOverlay:
    """Run the overlay in a sandbox; what it writes is kept in the empty folder `scratch`.

    Raises OverlayFailedError if it is not in the image, fails, or prints what is no answer, and
    DependencyError if it cannot be run.
    """
    answer = _prepared(overlay, scratch)
    work = scratch / _WORK_FOLDER
    prefix, disk = work / _PREFIX, work / _DISK
    (prefix / _ESP).mkdir(parents=True)
    with disk.open("wb") as file:
        file.truncate(_DISK_SIZE)
    request = {
        "installDisk": f"{_WORK}/{_DISK}",
        "mountPrefix": f"{_WORK}/{_PREFIX}",
        "artifactsPath": f"{_INSIDE}/{_ARTIFACTS}",
        "extraOptions": dict(overlay.options),
    }
    _run(overlay, scratch, "install", request)
    offset = align_up(max(answer.offset, MIB), MIB)
    written = tuple(_written(disk))
    if written and written[-1].end > offset:
        raise OverlayFailedError(
            f"overlay {overlay.name} writes up to byte {written[-1].end} of the disk, but lets"
            f" partitions begin at byte {offset}"
        )
    firmware = Content(offset, written)
    return InstalledOverlay(
        overlay.name, answer.kernel_args, offset, open_folder(prefix / _ESP), firmware
    )


def carried_overlay(overlay: Overlay) -> RootFiles:
    """Return the files by which an installer image applies the overlay on a machine.

    Of their modes only the permissions are kept, as in Talos. Raises OverlayFailedError if its
    executable is not in the image.
    """
    artifacts, folder = overlay.files.below(_ARTIFACTS), f"{_CARRIED}/{_ARTIFACTS}"
    executable = replace(overlay.installer(), path=f"{_CARRIED}/{_INSTALLERS}/default")
    options = File(f"{_CARRIED}/extra-options", Content.of_bytes(_yaml(overlay.options)))
    tree = artifacts.tree.under(folder).joined(Tree.of([options, executable]))
    plain = (replace(file, mode=file.mode & _PERMISSIONS) for file in tree.files)
    modes = {
        f"{folder}/{path}".rstrip("/"): mode & _PERMISSIONS
        for path, mode in artifacts.folder_modes.items()
    }
    return RootFiles(tree.with_files(plain), folder_modes=modes)


@dataclass(frozen=True, slots=True)
class _Answer:
    kernel_args: tuple[str, ...]
    offset: int


def _prepared(overlay: Overlay, scratch: Path) -> _Answer:
    """Unpack the overlay for the sandbox, and return its options."""
    overlay.installer()
    write_tree(overlay.files.tree, scratch / _IMAGE)
    (scratch / _WORK_FOLDER).mkdir()
    return _options(overlay, scratch)


def _options(overlay: Overlay, scratch: Path) -> _Answer:
    said = _run(overlay, scratch, "get-options", dict(overlay.options))
    try:
        answer = yaml.safe_load(said) or {}
        arguments = answer.get("kernelArgs") or []
        offset = (answer.get("partitionOptions") or {}).get("offset") or 0
        if not all(isinstance(each, str) for each in arguments):
            raise ValueError("kernelArgs is not a list of texts")
        if not isinstance(offset, int) or not 0 <= offset * _SECTOR < _LARGEST_OFFSET:
            raise ValueError("partitionOptions.offset is not a number of sectors")
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise OverlayFailedError(
            f"overlay {overlay.name}: what it prints for get-options is no answer: {error}"
        ) from error
    return _Answer(tuple(arguments), offset * _SECTOR)


def _run(overlay: Overlay, scratch: Path, verb: str, request: Mapping[str, Any]) -> bytes:
    sandbox = Sandbox(
        readable={_INSIDE: scratch / _IMAGE}, writable={_WORK: scratch / _WORK_FOLDER}
    )
    program = f"{_INSIDE}/{_INSTALLERS}/{overlay.name}"
    try:
        return sandbox.run(program, verb, arch=overlay.arch, stdin=_yaml(request))
    except ImagerError as error:
        raise OverlayFailedError(
            f"overlay {overlay.name}: {verb}: {error.message}", hint=error.hint
        ) from error


class _Dumper(yaml.SafeDumper):
    """Puts every text in quotes: YAML 1.2 takes words for numbers that YAML 1.1 does not."""


_Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


def _yaml(values: Mapping[str, Any]) -> bytes:
    """Return `values` as YAML that an installer in Go reads as they are."""
    return yaml.dump(dict(values), Dumper=_Dumper, width=1 << 20).encode()


def _written(disk: Path) -> Iterator[Extent]:
    """Yield what the overlay wrote to the disk, in whole sectors that are not zero."""
    whole = Content.of_source(FileRange(disk), _DISK_SIZE)
    with disk.open("rb") as file:
        for span in data_ranges(whole):
            data = os.pread(file.fileno(), len(span), span.start)
            first = span.start + (len(data) - len(data.lstrip(b"\0"))) // _SECTOR * _SECTOR
            end = align_up(span.start + len(data.rstrip(b"\0")), _SECTOR)
            if end > first:
                yield Extent(first, end - first, FileRange(disk, first))
