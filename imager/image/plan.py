"""The inputs and results of output modules, as plain values: nothing is written yet."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imager.cache.cache import ImageCache
from imager.content.extents import Content
from imager.content.tree import PlacedFile
from imager.image.bootloader.boot import BootTarget, BuildContext
from imager.image.bootloader.entries import disk_entries, medium_entries, single_entry
from imager.oci.reference import Reference
from imager.support.errors import InputError
from imager.support.fields import setting
from imager.talos.choices import Bootloader
from imager.talos.cmdline import kernel_cmdline
from imager.talos.kernel_arguments import KernelTarget
from imager.talos.meta import meta_kernel_argument

if TYPE_CHECKING:
    from imager.image.overlay import Overlay
    from imager.oci.layered import BaseImage, LayeredImage


@dataclass(frozen=True, slots=True)
class BaseInstaller:
    """The image that an installer image builds on, its name for messages, and the new one's.

    The new one carries `overlay`.
    """

    base: BaseImage
    name: str
    tag: Reference
    overlay: Overlay | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """The inputs of an output.

    `disk_size` (bytes) and `bootloader` are the user's choices.
    """

    build: BuildContext
    cache: ImageCache | None
    meta: Mapping[int, str]
    extra_kernel_args: Sequence[str]
    disk_size: int | None
    bootloader: Bootloader | None
    base_installer: BaseInstaller | None = None

    def cmdline(self, *, iso: bool = False, disk: bool = False) -> str:
        """Return the kernel command line: the version's, META values, and the user's changes.

        A disk has a META partition, so its command line omits the META values.
        """
        meta = () if disk else self._meta_argument()
        build = self.build
        kernel = KernelTarget(
            build.version, build.arch, build.platform, iso, build.secure_boot is not None
        )
        board = build.overlay.kernel_args if build.overlay else ()
        return kernel_cmdline(kernel, [*meta, *self.extra_kernel_args], board=board)

    def installer(self) -> BaseInstaller:
        """Return the base of an installer image; raises InputError without one."""
        if self.base_installer is None:
            raise InputError(
                "an installer image needs a base", hint=f"give {setting('input.baseInstaller')}"
            )
        return self.base_installer

    def _meta_argument(self) -> Sequence[str]:
        if not self.meta:
            return ()
        return (meta_kernel_argument(self.meta, allow_gzip=self.build.quirks.meta_gzip),)

    def disk_boot(self) -> BootTarget:
        """Return the boot target of a disk."""
        entries = disk_entries(self.build.version, self.cmdline(disk=True))
        return BootTarget(self.build, entries)

    def medium_boot(self) -> BootTarget:
        """Return the boot target of an ISO or stick."""
        return BootTarget(self.build, medium_entries(self.build.version, self.cmdline(iso=True)))

    def single_boot(self) -> BootTarget:
        """Return the boot target of a stand-alone UKI."""
        return BootTarget(self.build, single_entry(self.build.version, self.cmdline()))


class RegionKind(enum.Enum):
    """The kind of a region in a plan."""

    PARTITION = "partition"
    FILE = "file"
    TABLE = "table"


@dataclass(frozen=True, slots=True)
class Region:
    """A named part of an output: `length` bytes at byte `offset`."""

    kind: RegionKind
    name: str
    offset: int
    length: int
    detail: str = ""


def file_regions(
    files: Iterable[PlacedFile], *, folder: str = "", offset: int = 0
) -> Iterator[Region]:
    """Yield the regions of `files` in a volume at byte `offset`, each named below `folder`."""
    for file in files:
        yield Region(RegionKind.FILE, folder + file.path, offset + file.offset, file.length)


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """An output, ready to be written.

    `minimum_disk_size` is the smallest possible size in bytes, for disks and sticks.
    `notes` are shown to the user. `image` is the container image that the output is a tar of.
    `aliases` are files whose bytes are in `regions` already, or are metadata.
    """

    content: Content
    regions: tuple[Region, ...]
    minimum_disk_size: int | None = None
    notes: tuple[str, ...] = ()
    image: LayeredImage | None = None
    aliases: tuple[Region, ...] = ()
