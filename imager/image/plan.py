"""What an output module is given, and what it returns: values, nothing written yet."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imager.bootassets.find import BootAssets
from imager.cache.cache import ImageCache
from imager.content.extents import Content
from imager.efi.secureboot import SecureBoot
from imager.image.bootloader.boot import BootTarget, MenuEntry
from imager.image.bootloader.entries import disk_entries, medium_entries, single_entry
from imager.support.arch import Arch
from imager.talos.choices import Bootloader, EnrollKeys
from imager.talos.cmdline import kernel_cmdline
from imager.talos.meta import meta_kernel_argument
from imager.talos.version import TalosVersion
from imager.talos.versions import quirks


@dataclass(frozen=True, slots=True)
class Target:
    """The inputs of an output.

    `disk_size` is the size in bytes that the user asked for and `bootloader` the one, `timestamp`
    the build's instant in seconds since 1970, `scratch` a folder for metadata in the making,
    `sector_size` the disk's in bytes.
    """

    platform: str
    arch: Arch
    version: TalosVersion
    assets: BootAssets
    cache: ImageCache | None
    meta: Mapping[int, str]
    extra_kernel_args: Sequence[str]
    disk_size: int | None
    bootloader: Bootloader | None
    timestamp: int
    scratch: Path
    sector_size: int = 512
    secure_boot: SecureBoot | None = None
    enroll_keys: EnrollKeys = EnrollKeys.OFF

    def cmdline(self, *, iso: bool = False, disk: bool = False) -> str:
        """Return the kernel command line: the version's, META but on a disk, the user's changes.

        A disk has META in a partition.
        """
        meta = () if disk else self._meta_argument()
        arguments = [*meta, *self.extra_kernel_args]
        return kernel_cmdline(
            self.version,
            self.arch,
            iso=iso,
            secure_boot=self.secure_boot is not None,
            extra=arguments,
        )

    def _meta_argument(self) -> Sequence[str]:
        if not self.meta:
            return ()
        return (meta_kernel_argument(self.meta, allow_gzip=quirks(self.version).meta_gzip),)

    def disk_boot(self) -> BootTarget:
        """Return what the bootloader of a disk boots."""
        return self._boot(disk_entries(self.version, self.cmdline(disk=True)))

    def medium_boot(self) -> BootTarget:
        """Return what the bootloader of an ISO or stick boots."""
        return self._boot(medium_entries(self.version, self.cmdline(iso=True)))

    def single_boot(self) -> BootTarget:
        """Return what a UKI that is an output of its own boots."""
        return self._boot(single_entry(self.version, self.cmdline()))

    def _boot(self, entries: tuple[MenuEntry, ...]) -> BootTarget:
        return BootTarget(
            arch=self.arch,
            version=self.version,
            assets=self.assets,
            entries=entries,
            timestamp=self.timestamp,
            scratch=self.scratch,
            sector_size=self.sector_size,
            secure_boot=self.secure_boot,
            enroll_keys=self.enroll_keys,
        )


class RegionKind(enum.Enum):
    """What a line of a plan's table is."""

    PARTITION = "partition"
    FILE = "file"
    TABLE = "table"


@dataclass(frozen=True, slots=True)
class Region:
    """A named part of an output: `length` bytes at `offset` bytes."""

    kind: RegionKind
    name: str
    offset: int
    length: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """An output, ready to be written.

    `minimum_disk_size` is the smallest size in bytes that works, for disks and sticks.
    `notes` are for the user's eyes.
    """

    content: Content
    regions: tuple[Region, ...]
    minimum_disk_size: int | None = None
    notes: tuple[str, ...] = ()
