"""The profile: what to build, under the field names of Talos's profile YAML.

All values are frozen. Fields that Talos has and this program cannot serve yet are modelled too,
so that they are told apart from misspelt ones.
"""

from __future__ import annotations

import enum
import re
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic.alias_generators import to_camel

from imager.arch import ARCHES
from imager.errors import InputError
from imager.units import parse_size


class OutputKind(enum.Enum):
    """What is made."""

    ISO = "iso"
    IMAGE = "image"
    USB = "usb"
    INSTALLER = "installer"
    KERNEL = "kernel"
    INITRAMFS = "initramfs"
    UKI = "uki"
    CMDLINE = "cmdline"


class OutFormat(enum.Enum):
    """How the output file is packed."""

    RAW = "raw"
    TAR_GZ = ".tar.gz"
    XZ = ".xz"
    GZ = ".gz"
    ZST = ".zst"


class DiskFormat(enum.Enum):
    """The format of a disk image."""

    RAW = "raw"
    QCOW2 = "qcow2"
    VHD = "vhd"
    OVA = "ova"


_FORMATS = dict.fromkeys((OutputKind.IMAGE, OutputKind.USB), (OutFormat.RAW, OutFormat.ZST))


class Bootloader(enum.Enum):
    """Which bootloader an output carries."""

    DUAL_BOOT = "dual-boot"
    SD_BOOT = "sd-boot"
    GRUB = "grub"


class EnrollKeys(enum.Enum):
    """How SecureBoot keys on a medium get into firmware in setup mode: see loader.conf(5)."""

    OFF = "off"
    MANUAL = "manual"
    IF_SAFE = "if-safe"
    FORCE = "force"


def _size(value: object) -> int:
    if isinstance(value, str):
        try:
            return parse_size(value)
        except InputError as error:
            raise ValueError(error.message) from error
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is not a size; write it as 4GiB, 4GB or bytes")
    return value


def _meta_key(value: object) -> int:
    try:
        key = int(value, 0) if isinstance(value, str) else value
    except ValueError:
        key = None
    if isinstance(key, bool) or not isinstance(key, int) or not 1 <= key <= 255:
        raise ValueError(f"{value!r} is not a META key from 0x1 to 0xff")
    return key


def _arch(value: str) -> str:
    known = [arch.name for arch in ARCHES]
    if value not in known:
        raise ValueError(f"{value!r} is not one of {', '.join(known)}")
    return value


def _version(value: str) -> str:
    if value and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", value, re.ASCII):
        raise ValueError(f"{value!r} is not a version such as v1.9.0")
    return value


_T = TypeVar("_T")


def _only(*served: _T, why: str = "is not supported yet") -> AfterValidator:
    """Return a validator that lets nothing but the values of `served` pass."""

    def check(value: _T) -> _T:
        if value in served:
            return value
        shown = value.value if isinstance(value, enum.Enum) else value
        raise ValueError(f"{shown} {why}" if isinstance(shown, str | int) else why)

    return AfterValidator(check)


def _unset_if_empty(value: object) -> object:
    """Take an empty string for nothing, as Talos writes out what is not set."""
    return None if value == "" else value


_Chosen = BeforeValidator(_unset_if_empty)
Size = Annotated[int, BeforeValidator(_size)]
MetaKey = Annotated[int, BeforeValidator(_meta_key)]
# Words on a kernel command line: printable, and no space around them.
KernelArgument = Annotated[str, Field(pattern=r"^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$")]


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=False, strict=False
    )


class FileAsset(_Model):
    """A file, by its path."""

    path: str


class ContainerAsset(_Model):
    """A container image: in a registry, a tarball or an OCI layout."""

    image_ref: str = ""
    force_insecure: bool = False
    tarball_path: str = ""
    oci_path: str = ""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if sum(map(bool, (self.image_ref, self.tarball_path, self.oci_path))) != 1:
            raise ValueError("needs exactly one of imageRef, tarballPath, ociPath")
        return self


class MetaContent(_Model):
    """One value of the META partition."""

    key: MetaKey
    value: str


class Customization(_Model):
    """What the user adds to the defaults."""

    extra_kernel_args: tuple[KernelArgument, ...] = ()
    meta_contents: tuple[MetaContent, ...] = ()
    embedded_machine_configuration: Annotated[str, _only("")] = ""

    @model_validator(mode="after")
    def _keys_once(self) -> Self:
        keys = [content.key for content in self.meta_contents]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise ValueError(f"META keys are given twice: {', '.join(map(hex, twice))}")
        return self


class SigningKey(_Model):
    """A private key in a PEM file."""

    key_path: str


class SigningKeyAndCertificate(SigningKey):
    """A private key and its certificate, in PEM files."""

    cert_path: str


class SecureBootInput(_Model):
    """Keys and certificates; what is absent has its usual name in the folder of keys."""

    secure_boot_signer: SigningKeyAndCertificate | None = None
    pcr_signer: SigningKey | None = None
    platform_key_path: str = ""
    key_exchange_key_path: str = ""
    signature_key_path: str = ""
    include_well_known_certs: bool = False


class Input(_Model):
    """Where boot assets and the image cache come from; what is absent is looked for."""

    kernel: FileAsset | None = None
    initramfs: FileAsset | None = None
    sd_stub: FileAsset | None = None
    sd_boot: FileAsset | None = None
    base_installer: Annotated[ContainerAsset | None, _only(None)] = None
    image_cache: ContainerAsset | None = None
    overlay_installer: Annotated[ContainerAsset | None, _only(None)] = None
    system_extensions: Annotated[tuple[ContainerAsset, ...], _only(())] = ()
    secureboot: SecureBootInput | None = None


class Overlay(_Model):
    """A board overlay."""

    name: str
    image: ContainerAsset | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class ImageOptions(_Model):
    """Options of a disk image; `disk_size` is the whole disk in bytes."""

    disk_size: Size | None = None
    disk_format: Annotated[DiskFormat, _only(DiskFormat.RAW)] = DiskFormat.RAW
    disk_format_options: Annotated[str, _only("")] = ""
    disk_sector_size: Annotated[int, _only(512, 4096, why="is not supported; 512 and 4096 are")] = (
        512
    )
    bootloader: Annotated[Bootloader | None, _Chosen] = None
    sd_boot_enroll_keys: Annotated[EnrollKeys | None, _Chosen] = None


class IsoOptions(_Model):
    """Options of an ISO."""

    bootloader: Annotated[Bootloader | None, _Chosen] = None
    sd_boot_enroll_keys: Annotated[EnrollKeys | None, _Chosen] = None


class Output(_Model):
    """What comes out."""

    kind: Annotated[OutputKind, _only(*set(OutputKind) - {OutputKind.INSTALLER})]
    out_format: OutFormat = OutFormat.RAW
    image_options: ImageOptions = ImageOptions()
    iso_options: IsoOptions = IsoOptions()

    @property
    def bootloader(self) -> Bootloader | None:
        """The bootloader that was asked for, of the kind of output that this is."""
        return self._options.bootloader

    @property
    def enroll_keys(self) -> EnrollKeys | None:
        """How SecureBoot keys are to be enrolled, as the kind of output has been told."""
        return self._options.sd_boot_enroll_keys

    @property
    def _options(self) -> ImageOptions | IsoOptions:
        if self.kind in (OutputKind.ISO, OutputKind.USB):
            return self.iso_options
        return self.image_options

    @model_validator(mode="before")
    @classmethod
    def _default_format(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("kind") == OutputKind.IMAGE.value:
            return {"outFormat": OutFormat.ZST.value, **data}
        return data

    @model_validator(mode="after")
    def _format_of_kind(self) -> Self:
        served = _FORMATS.get(self.kind, (OutFormat.RAW,))
        if self.out_format not in served:
            names = " or ".join(item.value for item in served)
            raise ValueError(f"outFormat: {self.kind.value} comes as {names} only")
        return self


class Profile(_Model):
    """A whole profile."""

    base_profile_name: str = ""
    name: str = ""
    arch: Annotated[str, AfterValidator(_arch)] = "amd64"
    platform: Annotated[str, _only("metal", why="is not supported; metal is")] = "metal"
    secureboot: bool = False
    version: Annotated[str, AfterValidator(_version)] = ""
    customization: Customization = Customization()
    input: Input = Input()
    overlay: Annotated[Overlay | None, _only(None)] = None
    output: Output
