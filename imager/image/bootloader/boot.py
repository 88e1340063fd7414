"""What a bootloader is given, and what it contributes to a disk or an ISO: values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from imager.bootassets.find import BootAssets
from imager.content.extents import Content
from imager.content.tree import File, PlacedFile, Tree
from imager.efi.secureboot import SecureBoot
from imager.support.arch import Arch
from imager.talos.choices import EnrollKeys
from imager.talos.version import TalosVersion
from imager.talos.versions import Quirks, quirks


@dataclass(frozen=True, slots=True)
class MenuEntry:
    """An entry of the boot menu: its titles, and its kernel command line.

    `name` is the id of its UKI profile, `title` what systemd-boot shows, and `grub_title` what
    GRUB does.
    """

    name: str
    title: str
    cmdline: str
    grub_title: str = ""


@dataclass(frozen=True, slots=True)
class BuildContext:
    """What an output and its bootloader have in common.

    `timestamp` is the build's instant in seconds since 1970, `scratch` a folder for metadata in the
    making, `sector_size` the disk's in bytes. With `secure_boot` everything that firmware starts is
    signed; `enroll_keys` says how keys get into the firmware.
    """

    arch: Arch
    version: TalosVersion
    assets: BootAssets
    timestamp: int
    scratch: Path
    sector_size: int = 512
    secure_boot: SecureBoot | None = None
    enroll_keys: EnrollKeys = EnrollKeys.OFF

    @property
    def quirks(self) -> Quirks:
        """The rules of the version."""
        return quirks(self.version)

    @property
    def has_bios(self) -> bool:
        """Whether machines of the architecture have a BIOS."""
        return self.arch.grub_bios is not None


@dataclass(frozen=True, slots=True)
class BootTarget:
    """What is booted; the first of `entries` is the default one."""

    build: BuildContext
    entries: tuple[MenuEntry, ...]


@dataclass(frozen=True, slots=True)
class PlannedPartition:
    """A partition of a disk: `content` at `offset` bytes; `format_name` says what it holds."""

    label: str
    type_guid: UUID
    offset: int
    content: Content
    format_name: str
    files: tuple[PlacedFile, ...] = ()
    attributes: int = 0

    @property
    def end(self) -> int:
        """The byte of the disk after the last one."""
        return self.offset + self.content.size


@dataclass(frozen=True, slots=True)
class DiskBoot:
    """The first partitions of a disk, in order, and the MBR's code (at most 440 bytes).

    `how` says in a few words what it boots by, `notes` what else a person should know. `meta` are
    the META values that tell the node how the disk boots.
    """

    partitions: tuple[PlannedPartition, ...]
    how: str
    boot_code: bytes = b""
    notes: tuple[str, ...] = ()
    meta: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HybridBoot:
    """The image `path` of an ISO's tree that a BIOS loads, from a CD and from a disk.

    `boot_code` gives the MBR's code (at most 440 bytes) for an image that begins at the given
    sector of 512 bytes; `patched` returns the ISO's content with that sector entered in the image.
    """

    path: str
    boot_code: Callable[[int], bytes]
    patched: Callable[[Content, int], Content]


@dataclass(frozen=True, slots=True)
class IsoBoot:
    """What boots an ISO: the tree of its ESP, and `files` of the ISO's own beside them.

    `bios` is there when a BIOS boots it too; `how` says in a few words what it boots by,
    `notes` what else a person should know.
    """

    esp: Tree
    how: str
    files: tuple[File, ...] = ()
    bios: HybridBoot | None = None
    notes: tuple[str, ...] = ()
