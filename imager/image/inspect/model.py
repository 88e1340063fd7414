"""The result of an inspection: a tree of frozen values, which text, JSON, SVG and HTML show.

Sizes and offsets are in bytes. Offsets are in the image inside of its containers: of a qcow2 in a
`.zst`, in the raw disk. What is empty or None was not found, or cannot be known. A `Finding` is
something damaged or invalid; `unknown` says what was not recognised or not read, and why.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass


class Firmware(enum.Enum):
    """What starts a boot entry."""

    BIOS = "bios"
    UEFI = "uefi"


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """The file or place that was given, its `size` as it is there, and its formats, outside in.

    `fetched` is the number of bytes that were transferred, of a source in the network.
    """

    name: str
    size: int | None
    formats: tuple[str, ...]
    fetched: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something at `place` that is damaged or invalid."""

    place: str
    problem: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something at `place` that was not recognised or not read, and why."""

    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the image; `kind` is table, boot-code, partition, filesystem or free."""

    offset: int
    size: int
    name: str
    kind: str
    used: int | None = None


@dataclass(frozen=True, slots=True)
class TableInfo:
    """The partition table: `GPT` or `MBR`; only a GPT has an `uuid`."""

    kind: str
    sector_size: int
    uuid: str = ""


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """A partition; `type_name` is empty for a type without a common name."""

    number: int
    offset: int
    size: int
    label: str
    type_id: str
    type_name: str
    uuid: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VolumeInfo:
    """A file system, which `place` names elsewhere; `files` is None if they were not listed."""

    place: str
    kind: str
    label: str
    uuid: str
    offset: int
    size: int | None
    used: int | None
    files: int | None = None


@dataclass(frozen=True, slots=True)
class BootEntry:
    """What firmware or a loader can start: the file `path` of `place`, offered `by` a menu."""

    firmware: Firmware | None
    by: str
    place: str
    title: str
    path: str = ""
    kernel: str = ""
    initramfs: tuple[str, ...] = ()
    cmdline: str = ""
    is_default: bool = False


@dataclass(frozen=True, slots=True)
class KernelInfo:
    """A Linux kernel; `version` is that of `uname -r`, empty if it is unknown."""

    place: str
    path: str
    size: int
    version: str


@dataclass(frozen=True, slots=True)
class SectionInfo:
    """A section of a UKI."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class PolicyInfo:
    """The signed PCR policy of one profile of a UKI; `phases` are boot phases of systemd."""

    pcr11: str
    phases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProfileInfo:
    """A profile of a UKI; the first one has no id if the UKI has no profiles."""

    id: str
    title: str
    cmdline: str
    policy: PolicyInfo | None = None


@dataclass(frozen=True, slots=True)
class UkiInfo:
    """A unified kernel image; `os_release` are fields of os-release(5)."""

    place: str
    path: str
    size: int
    kernel: str
    os_release: Mapping[str, str]
    sections: tuple[SectionInfo, ...]
    profiles: tuple[ProfileInfo, ...]


@dataclass(frozen=True, slots=True)
class SignatureInfo:
    """A signature of an EFI binary; `problem` is empty for one that fits the bytes."""

    subject: str
    issuer: str
    fingerprint: str
    not_before: str
    not_after: str
    hash: str
    problem: str


@dataclass(frozen=True, slots=True)
class EfiBinaryInfo:
    """An EFI binary; `digest` is the SHA-256 that signatures are made of."""

    place: str
    path: str
    size: int
    digest: str
    signatures: tuple[SignatureInfo, ...]


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A variable of keys that firmware can enrol."""

    place: str
    path: str
    variable: str
    entries: int
    signer: str


@dataclass(frozen=True, slots=True)
class MetaValue:
    """A value of Talos's META partition."""

    key: int
    value: str


@dataclass(frozen=True, slots=True)
class ExtensionInfo:
    """A system extension in an initramfs."""

    name: str
    version: str
    author: str
    description: str
    image: str
    size: int | None


@dataclass(frozen=True, slots=True)
class InitramfsInfo:
    """An initramfs: its archives in order, each with its compression, and its extensions."""

    place: str
    path: str
    size: int
    archives: tuple[str, ...]
    extensions: tuple[ExtensionInfo, ...]


@dataclass(frozen=True, slots=True)
class CachedImageInfo:
    """An image of the image cache; `own` are the bytes that no other image shares."""

    name: str
    digest: str
    platforms: tuple[str, ...]
    size: int
    own: int


@dataclass(frozen=True, slots=True)
class CacheContents:
    """The image cache; `shared` bytes are saved by storing shared blobs once."""

    place: str
    size: int
    shared: int
    images: tuple[CachedImageInfo, ...]


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """A layer of a container image."""

    digest: str
    media_type: str
    size: int


@dataclass(frozen=True, slots=True)
class ContainerInfo:
    """A container image for one platform, or an artifact, of an OCI layout or a registry.

    `kind` is `image`, `artifact`, or the artifact's own type. `size` is that of its blobs.
    """

    name: str
    digest: str
    kind: str
    platform: str
    size: int
    layers: tuple[LayerInfo, ...]
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is in an image; `kind` is what it is as a whole, such as `disk`, `iso` or `uki`."""

    source: SourceInfo
    kind: str
    size: int
    talos: str
    table: TableInfo | None = None
    regions: tuple[Region, ...] = ()
    partitions: tuple[PartitionInfo, ...] = ()
    volumes: tuple[VolumeInfo, ...] = ()
    boot: tuple[BootEntry, ...] = ()
    kernels: tuple[KernelInfo, ...] = ()
    ukis: tuple[UkiInfo, ...] = ()
    initramfs: tuple[InitramfsInfo, ...] = ()
    efi: tuple[EfiBinaryInfo, ...] = ()
    keys: tuple[KeyInfo, ...] = ()
    meta: tuple[MetaValue, ...] = ()
    cache: CacheContents | None = None
    containers: tuple[ContainerInfo, ...] = ()
    findings: tuple[Finding, ...] = ()
    unknown: tuple[Unknown, ...] = ()
