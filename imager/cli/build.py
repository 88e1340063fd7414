"""The command behind every profile: options become a layer over it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import typer

from imager.cli.help import INPUTS, OUTPUT
from imager.cli.options import (
    ArchName,
    LayerCacheFolder,
    Registries,
    RequiredImages,
    Results,
)
from imager.support.errors import InputError
from imager.support.inputs import input_name

_OUT = Path("/out")
_LOCAL_OUT = Path("_out")

BootloaderName = Literal["dual-boot", "sd-boot", "grub"]
EnrollKeysName = Literal["off", "manual", "if-safe", "force"]
# What a profile may name, less what is not made yet.
OutputKindName = Literal["iso", "image", "usb", "kernel", "initramfs", "uki", "cmdline"]
OutFormatName = Literal["raw", ".zst"]


@dataclass(frozen=True, slots=True)
class Inputs:
    """The options on what an output is made of."""

    PANEL: ClassVar[str] = INPUTS

    image_cache: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|REF",
            help="Image cache: a layout, flat tree, tar, ISO, disk image, or a registry reference.",
        ),
    ] = None
    require_images: RequiredImages = None
    layer_cache: LayerCacheFolder = None
    assets: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            show_default="$IMAGER_ASSETS, /usr/install, the user's cache",
            help="Folder of boot assets, such as /usr/install of a Talos imager image.",
        ),
    ] = None
    talos_version: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            show_default="the file `version` beside the boot assets, else v1.9.0",
            help="Talos release to build for.",
        ),
    ] = None
    arch: Annotated[
        ArchName | None, typer.Option(show_default="amd64", help="Architecture of the machine.")
    ] = None
    platform: Annotated[
        Literal["metal"] | None, typer.Option(show_default="metal", help="Talos platform.")
    ] = None
    extra_kernel_arg: Annotated[
        list[str] | None,
        typer.Option(metavar="ARG", help="Kernel argument to add; -NAME removes one."),
    ] = None
    meta: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="META value, such as 0xa=VALUE."),
    ] = None

    def layer(self) -> Mapping[str, Any]:
        """Return what these options say, as a layer over a profile."""
        return {
            "platform": self.platform,
            "arch": self.arch,
            "version": self.talos_version,
            "customization": {
                "extraKernelArgs": self.extra_kernel_arg,
                "metaContents": [_meta_content(text) for text in self.meta or ()] or None,
            },
            "input": {"imageCache": _container_asset(self.image_cache)},
        }


@dataclass(frozen=True, slots=True)
class Output:
    """The options on what is made, and where."""

    PANEL: ClassVar[str] = OUTPUT

    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER|FILE",
            show_default="/out if it exists, else ./_out",
            help="Folder for the output, or a file that ends in its suffix; made if missing.",
        ),
    ] = None
    no_clobber: Annotated[
        bool, typer.Option("--no-clobber", help="Fail rather than replace an existing output.")
    ] = False
    output_kind: Annotated[
        OutputKindName | None,
        typer.Option(show_default="that of the profile", help="What to make."),
    ] = None
    out_format: Annotated[
        OutFormatName | None,
        typer.Option(
            show_default="that of the profile", help="Whether a disk or stick is compressed."
        ),
    ] = None
    image_disk_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            show_default="that of Talos, or the smallest that works",
            help="Total size of a disk or stick, such as 4GiB.",
        ),
    ] = None
    bootloader: Annotated[
        BootloaderName | None,
        typer.Option(show_default="that of the Talos release", help="What boots the output."),
    ] = None
    verify: Annotated[
        bool, typer.Option(help="Check the digest of every blob while it is copied.")
    ] = True
    checksum: Annotated[
        bool, typer.Option("--checksum", help="Print the SHA-256 of the output.")
    ] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and write nothing.")
    ] = False
    files: Annotated[
        bool,
        typer.Option(
            "--files", help="With --dry-run: print every part of the output, with its exact place."
        ),
    ] = False

    def layer(self) -> Mapping[str, Any]:
        """Return what these options say, as a layer over a profile."""
        return {
            "output": {
                "kind": self.output_kind,
                "outFormat": self.out_format,
                "imageOptions": {"diskSize": self.image_disk_size, "bootloader": self.bootloader},
                "isoOptions": {"bootloader": self.bootloader},
            }
        }

    def place(self) -> Path:
        """Return the folder or file for the output."""
        return self.output or (_OUT if _OUT.is_dir() else _LOCAL_OUT)


@dataclass(frozen=True, slots=True)
class SecureBoot:
    """The options on keys and certificates."""

    PANEL: ClassVar[str] = "SecureBoot"

    secureboot_dir: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Folder of the keys and certificates."),
    ] = Path("/secureboot")
    secureboot_include_well_known_certs: Annotated[
        bool,
        typer.Option(
            "--secureboot-include-well-known-certs",
            help="Also trust the certificates in well-known/db and well-known/KEK of that folder.",
        ),
    ] = False
    secureboot_enroll_keys: Annotated[
        EnrollKeysName | None,
        typer.Option(show_default="if-safe", help="How firmware in setup mode gets the keys."),
    ] = None

    def layer(self) -> Mapping[str, Any]:
        """Return what these options say, as a layer over a profile."""
        enroll = {"sdBootEnrollKeys": self.secureboot_enroll_keys}
        certs = {"includeWellKnownCerts": self.secureboot_include_well_known_certs or None}
        return {
            "input": {"secureboot": certs},
            "output": {"imageOptions": enroll, "isoOptions": enroll},
        }


def build(
    context: typer.Context,
    *,
    inputs: Inputs,
    output: Output,
    secureboot: SecureBoot,
    registries: Registries,
    display: Results,
) -> None:
    """Build the profile that the command is named after."""
    from imager.app.build import Options, planned_build, write_build
    from imager.cache.lists import read_image_list
    from imager.cli import render
    from imager.cli.naming import Naming
    from imager.cli.profiles import read_layer
    from imager.profile.load import load_profile, merged
    from imager.profile.names import builtin_names
    from imager.support.folders import check_free_space

    if output.files and not output.dry_run:
        raise InputError("--files is for plans", hint="give --dry-run as well")
    source = context.info_name or ""
    layers = (inputs.layer(), output.layer(), secureboot.layer())
    written, given = read_layer(source), merged(map(_without_unset, layers))
    naming = Naming({} if source in builtin_names() else written, given)
    profile = load_profile(written, given, source=input_name(source), name=naming.of)
    required = inputs.require_images
    options = Options(
        output=output.place(),
        assets=inputs.assets,
        layer_cache=inputs.layer_cache,
        registries=registries.settings(),
        require_images=read_image_list(required) if required else (),
        verify=output.verify,
        checksum=output.checksum,
        dry_run=output.dry_run,
        clobber=not output.no_clobber,
        secureboot=secureboot.secureboot_dir,
    )
    reporter = display.reporter()
    started = time.monotonic()
    with naming.errors(), planned_build(profile, options, reporter) as build_plan:
        planned = naming.notes(build_plan)
        if output.dry_run:
            text = render.files_text if output.files else render.plan_text
            display.answer(lambda: text(planned, naming), lambda: render.plan_json(planned))
            check_free_space(planned.path.parent, planned.space_needed)
            return
        result = write_build(planned, options, reporter)
        seconds = time.monotonic() - started
    display.summary(
        lambda: render.result_text(planned, result, seconds),
        lambda: render.result_json(planned, result, seconds),
    )


def _without_unset(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given: no None, and no mapping without any."""
    given = {
        key: _without_unset(value) if isinstance(value, Mapping) else value
        for key, value in layer.items()
        if value is not None
    }
    return {key: value for key, value in given.items() if value != {}}


def _container_asset(text: str | None) -> Mapping[str, Any] | None:
    """Return what --image-cache names: a path that exists, a registry reference, or a path."""
    if text is None:
        return None
    from imager.cache.opener import cache_place

    place = cache_place(text)
    field = "ociPath" if isinstance(place, Path) else "imageRef"
    return {"imageRef": "", "ociPath": "", "tarballPath": "", field: str(place)}


def _meta_content(text: str) -> Mapping[str, Any]:
    key, separator, value = text.partition("=")
    if not separator:
        raise InputError(
            f"--meta {text!r} has no value", hint="write it as KEY=VALUE, for example 0xc=value"
        )
    return {"key": key, "value": value}
