"""Model the profile of a build with the field names of Talos's profile YAML.

`imager.profile.inputs` models the inputs. All values are frozen. Talos's fields that this program
does not support yet are modelled too, to distinguish them from misspelt ones. The reference, the
JSON schema and the starter profile are generated from the descriptions and examples.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from imager.profile.disk_options import DiskOptions
from imager.profile.inputs import ContainerAsset, FrozenModel, Input
from imager.profile.validators import (
    IGNORED,
    Arch,
    IfAny,
    KernelArgument,
    MetaKey,
    OffIsAWord,
    Size,
    Version,
    choice,
    unset_if,
    values_of,
)
from imager.support.units import SECTOR_SIZES
from imager.talos.choices import Bootloader, DiskFormat, EnrollKeys, OutFormat, OutputKind
from imager.talos.platforms import METAL, PLATFORMS


class MetaContent(FrozenModel):
    """One value of the META partition."""

    key: MetaKey = Field(description="Key, from 0x1 to 0xff.", examples=["0xa"])
    value: str = Field(description="Value.", examples=["VALUE"])


class Customization(FrozenModel):
    """Changes to the defaults."""

    extra_kernel_args: tuple[KernelArgument, ...] = Field(
        default=(),
        description="Kernel arguments to add; -NAME removes one.",
        examples=[["console=ttyS0"]],
    )
    meta_contents: tuple[MetaContent, ...] = Field(
        default=(), description="Values of the META partition."
    )
    embedded_machine_configuration: str = Field(
        default="",
        description="Machine configuration inside of the image, since Talos 1.12.",
    )

    @field_validator("meta_contents")
    @classmethod
    def _keys_once(cls, contents: tuple[MetaContent, ...]) -> tuple[MetaContent, ...]:
        keys = [content.key for content in contents]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise ValueError(f"META keys are given twice: {', '.join(map(hex, twice))}")
        return contents


class Overlay(FrozenModel):
    """A board overlay."""

    name: str = Field(
        default="default", description="Name of its installer.", examples=["rpi_generic"]
    )
    image: ContainerAsset | None = Field(default=None, description="Image of the overlay.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Options of the board.", examples=[{"model": "b2"}]
    )


_BootloaderChoice = Annotated[
    Annotated[Bootloader, choice(*values_of(Bootloader))] | None,
    unset_if("", "none"),
    Field(description="Bootloader; that of the Talos version if it is left out."),
]
_EnrollChoice = Annotated[
    Annotated[EnrollKeys, choice(*values_of(EnrollKeys)), OffIsAWord] | None,
    unset_if(""),
    Field(description="How firmware in setup mode gets the SecureBoot keys.", examples=["manual"]),
]


class ImageOptions(FrozenModel):
    """Options of a disk image or USB stick."""

    disk_size: Size | None = Field(
        default=None,
        description="Size of the whole disk; if left out, Talos's or the smallest that works.",
        examples=["4GiB"],
    )
    disk_format: Annotated[DiskFormat, choice(*values_of(DiskFormat))] = Field(
        default=DiskFormat.RAW, description="Format of the disk image."
    )
    disk_format_options: str = Field(
        default="",
        description="Options of the format: cluster_size of qcow2; subformat, force_size of vhd.",
        examples=["cluster_size=8k"],
    )
    disk_sector_size: Annotated[int, choice(*SECTOR_SIZES)] = Field(
        default=512, description="Sector size of the disk in bytes."
    )
    bootloader: _BootloaderChoice = None
    sd_boot_enroll_keys: _EnrollChoice = None

    @field_validator("disk_format_options")
    @classmethod
    def _options_of_format(cls, value: str, info: ValidationInfo) -> str:
        if disk_format := info.data.get("disk_format"):
            DiskOptions.parse(value, disk_format)
        return value

    @property
    def disk_options(self) -> DiskOptions:
        """The options of the disk format."""
        return DiskOptions.parse(self.disk_format_options, self.disk_format)


class IsoOptions(FrozenModel):
    """Options of an ISO."""

    bootloader: _BootloaderChoice = None
    sd_boot_enroll_keys: _EnrollChoice = None


class Output(FrozenModel):
    """What is made."""

    kind: Annotated[
        OutputKind,
        choice(*values_of(OutputKind)),
    ] = Field(description="Kind of output.")
    out_format: Annotated[OutFormat, choice(*values_of(OutFormat))] = Field(
        default=OutFormat.RAW,
        description="Compression; that of an image is .zst if it is left out.",
    )
    image_options: ImageOptions = Field(
        default=ImageOptions(), description="Options of a disk image or USB stick."
    )
    iso_options: IsoOptions = Field(default=IsoOptions(), description="Options of an ISO.")

    @property
    def bootloader(self) -> Bootloader | None:
        """The requested bootloader, from the options of this output kind."""
        return self._options.bootloader

    @property
    def enroll_keys(self) -> EnrollKeys | None:
        """The requested enrolment of SecureBoot keys, from the options of this output kind."""
        return self._options.sd_boot_enroll_keys

    @property
    def options_path(self) -> str:
        """The path in the profile of the options of this output kind."""
        iso = self.kind in (OutputKind.ISO, OutputKind.USB)
        return "output.isoOptions" if iso else "output.imageOptions"

    @property
    def _options(self) -> ImageOptions | IsoOptions:
        if self.options_path == "output.isoOptions":
            return self.iso_options
        return self.image_options

    @model_validator(mode="before")
    @classmethod
    def _default_format(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("kind") == OutputKind.IMAGE.value:
            return {"outFormat": OutFormat.ZST.value, **data}
        return data


class Profile(FrozenModel):
    """A whole profile."""

    base_profile_name: str = Field(
        default="",
        description="Built-in profile that this one changes.",
        examples=["metal"],
    )
    name: str = Field(default="", description="Name of Talos.", json_schema_extra={IGNORED: True})
    arch: Arch = Field(default="amd64", description="Architecture of the machine.")
    platform: Annotated[str, choice(*PLATFORMS)] = Field(
        default=METAL, description="Platform of Talos."
    )
    secureboot: bool = Field(default=False, description="Sign the output for SecureBoot.")
    version: Version = Field(
        default="",
        description="Talos version; that of the boot assets if it is left out.",
        examples=["v1.9.0"],
    )
    customization: Customization = Field(
        default=Customization(), description="Changes to the defaults."
    )
    input: Input = Field(default=Input(), description="Boot assets and image cache.")
    overlay: Annotated[Overlay | None, IfAny] = Field(
        default=None, description="Firmware and kernel arguments of a board."
    )
    output: Output = Field(description="What is made.")
