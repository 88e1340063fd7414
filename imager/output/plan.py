"""What an output module is given, and what it returns: values, nothing written yet."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imager.arch import Arch
from imager.bootassets.cmdline import kernel_cmdline
from imager.bootassets.locate import BootAssets
from imager.extents import Content
from imager.imagecache.cache import ImageCache
from imager.profile.version import TalosVersion


@dataclass(frozen=True, slots=True)
class Target:
    """The inputs of an output.

    `disk_size` is the size in bytes that the user asked for, `timestamp` the build's instant in
    seconds since 1970, `scratch` a folder for metadata in the making.
    """

    platform: str
    arch: Arch
    version: TalosVersion
    assets: BootAssets
    cache: ImageCache | None
    meta: Mapping[int, str]
    extra_kernel_args: Sequence[str]
    disk_size: int | None
    timestamp: int
    scratch: Path

    @property
    def stem(self) -> str:
        """The first part of an output's file name, as Talos has it."""
        return f"{self.platform}-{self.arch.name}"

    def cmdline(self, *, iso: bool, extra: Sequence[str] = ()) -> str:
        """Return the kernel command line: the version's, `extra`, and the user's changes."""
        arguments = [*extra, *self.extra_kernel_args]
        return kernel_cmdline(self.version, self.arch, iso=iso, extra=arguments)


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

    `minimum_disk_size` is the smallest `--image-disk-size` in bytes that works, for disks.
    `notes` are for the user's eyes.
    """

    file_name: str
    content: Content
    regions: tuple[Region, ...]
    minimum_disk_size: int | None = None
    notes: tuple[str, ...] = ()
