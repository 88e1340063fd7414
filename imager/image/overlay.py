"""Overlays for boards: an executable of the board's makers adds firmware to a disk.

https://github.com/siderolabs/talos, pkg/machinery/overlay. An overlay image has `artifacts/`,
`installers/NAME` (static executables) and `profiles/`. `NAME get-options` reads the user's options
and prints kernel arguments and where partitions may begin; `NAME install` copies files into
`boot/EFI` of a folder, and may write to a disk. Here both are empty and in a sandbox: what is in
them afterwards is planned into the output, for every bootloader.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import yaml

from imager.content.extents import Content, Extent, FileRange
from imager.content.folder import open_folder
from imager.content.ranges import data_ranges
from imager.content.tree import Tree
from imager.content.unpack import write_tree
from imager.image.errors import OverlayFailedError
from imager.support.arch import Arch
from imager.support.errors import ImagerError
from imager.support.sandbox import Sandbox
from imager.support.units import MIB, align_up

_SECTOR = 512
_INSIDE, _IMAGE = "/overlay", "image"
_WORK, _WORK_FOLDER = "/work", "work"
_DISK, _PREFIX = "disk.raw", "prefix"
_ESP = "boot/EFI"
# Firmware is at most some megabytes from the start of a disk.
_DISK_SIZE = 1 << 30
_LARGEST_OFFSET = 1 << 30


@dataclass(frozen=True, slots=True)
class Overlay:
    """The files of an overlay image for machines of `arch`, and the user's `options`.

    `name` is that of the executable in `installers/`.
    """

    files: Tree
    name: str
    arch: Arch
    options: Mapping[str, Any]

    @property
    def installers(self) -> list[PurePath]:
        """The paths of all executables, sorted."""
        paths = map(PurePath, sorted(file.path for file in self.files.files))
        return [path for path in paths if path.parent == PurePath("installers")]


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


def install_overlay(overlay: Overlay, scratch: Path) -> InstalledOverlay:
    """Run the overlay in a sandbox; what it writes is kept in the empty folder `scratch`.

    Raises OverlayFailedError if it is not in the image, fails, or prints what is no answer, and
    DependencyError if it cannot be run.
    """
    there = [path.name for path in overlay.installers]
    if overlay.name not in there:
        raise OverlayFailedError(
            f"the overlay image has no installer {overlay.name!r}",
            hint=f"there are: {', '.join(there) or 'none'}; choose one with --overlay-name",
        )
    write_tree(overlay.files, scratch / _IMAGE)
    work = scratch / _WORK_FOLDER
    prefix, disk = work / _PREFIX, work / _DISK
    (prefix / _ESP).mkdir(parents=True)
    with disk.open("wb") as file:
        file.truncate(_DISK_SIZE)
    answer = _options(overlay, scratch)
    request = {
        "installDisk": f"{_WORK}/{_DISK}",
        "mountPrefix": f"{_WORK}/{_PREFIX}",
        "artifactsPath": f"{_INSIDE}/artifacts",
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


@dataclass(frozen=True, slots=True)
class _Answer:
    kernel_args: tuple[str, ...]
    offset: int


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
    program = f"{_INSIDE}/installers/{overlay.name}"
    try:
        return sandbox.run(
            program, verb, arch=overlay.arch, stdin=yaml.safe_dump(dict(request)).encode()
        )
    except ImagerError as error:
        raise OverlayFailedError(
            f"overlay {overlay.name}: {verb}: {error.message}", hint=error.hint
        ) from error


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
