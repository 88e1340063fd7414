"""The inputs of a bootloader, and its parts of a disk or an ISO, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from imager.bootassets.find import BootAssets
from imager.content.extents import Content
from imager.content.tree import File, PlacedFile, Tree
from imager.support.arch import Arch
from imager.talos.choices import EnrollKeys
from imager.talos.platforms import METAL
from imager.talos.version import TalosVersion
from imager.talos.versions import Quirks, quirks

if TYPE_CHECKING:
    from imager.efi.secureboot import SecureBoot
    from imager.image.overlay import InstalledOverlay


@dataclass(frozen=True, slots=True)
class MenuEntry:
    """An entry of the boot menu: its titles, and its kernel command line.

    `name` is the id of its UKI profile, `title` its title in systemd-boot, and `grub_title` its
    title in GRUB.
    """

    name: str
    title: str
    cmdline: str
    grub_title: str = ""


@dataclass(frozen=True, slots=True)
class BuildContext:
    """The build settings that an output shares with its bootloader.

    `timestamp` is the build time in seconds since 1970, `scratch` a folder for temporary metadata,
    `sector_size` the disk's in bytes. With `secure_boot`, everything that firmware starts is
    signed; `enroll_keys` determines how keys get into the firmware. `overlay` is for a board.
    """

    arch: Arch
    version: TalosVersion
    assets: BootAssets
    timestamp: int
    scratch: Path
    sector_size: int = 512
    platform: str = METAL
    secure_boot: SecureBoot | None = None
    enroll_keys: EnrollKeys = EnrollKeys.OFF
    overlay: InstalledOverlay | None = None

    @property
    def quirks(self) -> Quirks:
        """The rules of the Talos version."""
        return quirks(self.version)

    @property
    def has_bios(self) -> bool:
        """Whether machines of the architecture may have a BIOS."""
        return self.arch.grub_bios is not None


@dataclass(frozen=True, slots=True)
class BootTarget:
    """The boot entries and the build settings; the first of `entries` is the default."""

    build: BuildContext
    entries: tuple[MenuEntry, ...]


@dataclass(frozen=True, slots=True)
class PlannedPartition:
    """A partition of a disk: `content` at byte `offset`; `format_name` describes its contents."""

    label: str
    type_guid: UUID
    offset: int
    content: Content
    format_name: str
    files: tuple[PlacedFile, ...] = ()
    attributes: int = 0

    @property
    def end(self) -> int:
        """The byte offset of the partition's end."""
        return self.offset + self.content.size


@dataclass(frozen=True, slots=True)
class DiskBoot:
    """The first partitions of a disk, in order, and the MBR boot code (at most 440 bytes).

    `how` briefly describes the boot method; `notes` are shown to the user. `meta` contains the
    META values that tell the node how the disk boots.
    """

    partitions: tuple[PlannedPartition, ...]
    how: str
    boot_code: bytes = b""
    notes: tuple[str, ...] = ()
    meta: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HybridBoot:
    """The image `path` in an ISO's tree that a BIOS loads, from a CD and from a disk.

    `boot_code` returns the MBR boot code (at most 440 bytes) for an image that begins at the given
    sector of 512 bytes; `patched` returns the ISO's content with that sector written to the image.
    """

    path: str
    boot_code: Callable[[int], bytes]
    patched: Callable[[Content, int], Content]


@dataclass(frozen=True, slots=True)
class IsoBoot:
    """The boot files of an ISO: the tree of its ESP, and `files` in the ISO's own tree.

    `bios` is set if a BIOS boots it too; `how` briefly describes the boot method; `notes` are
    shown to the user.
    """

    esp: Tree
    how: str
    files: tuple[File, ...] = ()
    bios: HybridBoot | None = None
    notes: tuple[str, ...] = ()
