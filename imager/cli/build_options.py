"""Define the options of a build and the profile fields that they set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from imager.cli import build_fields
from imager.cli.build_fields import Field
from imager.cli.declare import flag, hints_of, option
from imager.cli.help import INPUTS, OUTPUT
from imager.cli.options import CACHE_HELP, ArchName, LayerCacheFolder

if TYPE_CHECKING:
    from imager.oci.reference import Reference

_OF_PROFILE = "from the profile"

BootloaderName = Literal["dual-boot", "sd-boot", "grub"]
EnrollKeysName = Literal["off", "manual", "if-safe", "force"]
PlatformName = Literal[
    "metal",
    "akamai",
    "alibabacloud",
    "aws",
    "azure",
    "cloudstack",
    "digital-ocean",
    "equinixMetal",
    "exoscale",
    "gcp",
    "hcloud",
    "nocloud",
    "opennebula",
    "openstack",
    "oracle",
    "scaleway",
    "upcloud",
    "vmware",
    "vultr",
]
OutputKindName = Literal[
    "iso", "image", "usb", "installer", "kernel", "initramfs", "uki", "cmdline"
]
OutFormatName = Literal["raw", ".tar.gz", ".xz", ".gz", ".zst"]


@dataclass(frozen=True, slots=True)
class Inputs:
    """The options for the inputs of a build."""

    PANEL: ClassVar[str] = INPUTS

    image_cache: Annotated[
        str | None,
        option("PATH|REF", CACHE_HELP),
        Field("input.imageCache", convert=build_fields.image_cache),
    ] = None
    layer_cache: LayerCacheFolder = None
    assets: Annotated[
        str | None,
        option(
            "FOLDER|PATH|REF",
            "Boot assets: a folder, or an image that has them, such as that of Talos's imager: an "
            "OCI layout, archive or registry reference.",
            default="$IMAGER_ASSETS, /usr/install, the user's cache",
        ),
    ] = None
    base_installer_image: Annotated[
        str | None,
        option("PATH|REF", "Installer image to take the boot assets from, without --assets."),
        Field("input.baseInstaller", convert=build_fields.image),
    ] = None
    system_extension_image: Annotated[
        list[str] | None,
        option("PATH|REF", "System extension to add, an image or tarball; in the order given."),
        Field("input.systemExtensions", convert=build_fields.images),
    ] = None
    embedded_config_path: Annotated[
        Path | None,
        option("FILE", "Machine configuration to put into the image, since Talos 1.12."),
        Field("customization.embeddedMachineConfiguration", convert=build_fields.configuration),
    ] = None
    overlay_name: Annotated[
        str | None,
        option("NAME", "Installer of a board in the overlay image.", default="default"),
        Field("overlay.name"),
    ] = None
    overlay_image: Annotated[
        str | None,
        option("PATH|REF", "Overlay image: firmware, kernel arguments and profiles of a board."),
        Field("overlay.image", "input.overlayInstaller", convert=build_fields.image),
    ] = None
    overlay_option: Annotated[
        list[str] | None,
        option("KEY=VALUE", "Option of the board; also KEY=@FILE, or @FILE with YAML."),
        Field("overlay.options", convert=build_fields.overlay_options),
    ] = None
    talos_version: Annotated[
        str | None,
        option(
            "VERSION",
            "Talos release to build for.",
            default="the file `version` beside the boot assets, or v1.9.0",
        ),
        Field("version"),
    ] = None
    arch: Annotated[
        ArchName | None,
        option(None, "Architecture of the machine.", default="amd64"),
        Field("arch"),
    ] = None
    platform: Annotated[
        PlatformName | None,
        option("NAME", "Talos platform: metal, aws, ...", default=_OF_PROFILE),
        Field("platform"),
    ] = None
    extra_kernel_arg: Annotated[
        list[str] | None,
        option("ARG", "Kernel argument to add; -NAME removes one."),
        Field("customization.extraKernelArgs"),
    ] = None
    meta: Annotated[
        list[str] | None,
        option("KEY=VALUE", "META value, such as 0xa=VALUE."),
        Field("customization.metaContents", convert=build_fields.meta_contents),
    ] = None

    def asset_place(self) -> Path | Reference | None:
        """Return where to take boot assets from; None for the usual folders."""
        from imager.oci.location import parse_place

        text = self.assets or self.base_installer_image
        return parse_place(text) if text else None


@dataclass(frozen=True, slots=True)
class Shape:
    """The options for what is made, which the profile has too."""

    PANEL: ClassVar[str] = OUTPUT

    output_kind: Annotated[
        OutputKindName | None,
        option(None, "Kind of output.", default=_OF_PROFILE),
        Field("output.kind"),
    ] = None
    out_format: Annotated[
        OutFormatName | None,
        option(None, "Compression of the output.", default=_OF_PROFILE),
        Field("output.outFormat"),
    ] = None
    image_disk_size: Annotated[
        str | None,
        option(
            "SIZE",
            "Total size of a disk or stick, such as 4GiB.",
            default="Talos's size, or the smallest that works",
        ),
        Field("output.imageOptions.diskSize"),
    ] = None
    bootloader: Annotated[
        BootloaderName | None,
        option(None, "Bootloader of the output.", default="depends on the Talos release"),
        Field("output.imageOptions.bootloader", "output.isoOptions.bootloader"),
    ] = None


@dataclass(frozen=True, slots=True)
class SecureBoot:
    """The options for keys and certificates."""

    PANEL: ClassVar[str] = "SecureBoot"

    secureboot_dir: Annotated[Path, option("FOLDER", "Folder of the keys and certificates.")] = (
        Path("/secureboot")
    )
    secureboot_include_well_known_certs: Annotated[
        bool,
        flag(
            "--secureboot-include-well-known-certs",
            "Also trust the certificates in well-known/db and well-known/KEK of --secureboot-dir.",
        ),
        Field("input.secureboot.includeWellKnownCerts"),
    ] = False
    secureboot_signer_address: Annotated[
        str | None,
        option("ADDRESS", "gRPC service that signs loader and UKI, such as unix:///run/s.sock."),
        Field("input.secureboot.secureBootSigner.signerAddress"),
    ] = None
    pcr_signer_address: Annotated[
        str | None,
        option("ADDRESS", "gRPC service that signs PCR policies."),
        Field("input.secureboot.pcrSigner.signerAddress"),
    ] = None
    secureboot_enroll_keys: Annotated[
        EnrollKeysName | None,
        option(None, "How firmware in setup mode enrolls the keys.", default="if-safe"),
        Field("output.imageOptions.sdBootEnrollKeys", "output.isoOptions.sdBootEnrollKeys"),
    ] = None


@cache
def _fields() -> Mapping[str, Field]:
    """Return the profile fields that each option sets, by option."""
    return {
        name: each
        for group in (Inputs, Shape, SecureBoot)
        for name, hint in hints_of(group).items()
        for each in getattr(hint, "__metadata__", ())
        if isinstance(each, Field)
    }


@cache
def field_options() -> Mapping[str, str]:
    """Return the option that sets each profile field, by field."""
    return {
        path: f"--{name.replace('_', '-')}"
        for name, field in _fields().items()
        for path in field.paths
    }


def profile_layer(*groups: Inputs | Shape | SecureBoot) -> Mapping[str, Any]:
    """Return the given options as a layer to merge over a profile."""
    from imager.profile.load import merged

    values = {name: value for group in groups for name, value in asdict(group).items()}
    return merged(
        _nested(path, field.convert(values[name]))
        for name, field in _fields().items()
        if values[name]
        for path in field.paths
    )


def _nested(path: str, value: Any) -> Mapping[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)
