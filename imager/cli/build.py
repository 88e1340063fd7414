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
    Results,
)
from imager.textinput import STDIN, input_name, read_input

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
    require_images: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Fail unless the cache has every image of this file."),
    ] = None
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
        }


@dataclass(frozen=True, slots=True)
class Output:
    """The options on what is made, and where."""

    PANEL: ClassVar[str] = OUTPUT

    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            show_default="/out if it exists, else ./_out",
            help="Folder for the output.",
        ),
    ] = None
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
            show_default="the smallest that works",
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

    def folder(self) -> Path:
        """Return the folder for the output; without --output it is made, but not in a dry run."""
        if self.output is not None:
            return self.output
        if _OUT.is_dir():
            return _OUT
        if not self.dry_run:
            _LOCAL_OUT.mkdir(exist_ok=True)
        return _LOCAL_OUT


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
    from imager.build import Options, planned_build, write_build
    from imager.cli import render
    from imager.imagecache.lists import read_image_list
    from imager.profile.load import load_profile

    source = context.info_name or ""
    cache = _container_asset(inputs.image_cache, insecure=registries.insecure)
    layers = (
        inputs.layer(),
        {"input": {"imageCache": cache}},
        output.layer(),
        secureboot.layer(),
    )
    profile = load_profile(
        _read_layer(source), *map(_without_unset, layers), source=input_name(source)
    )
    required = inputs.require_images
    options = Options(
        output=output.folder(),
        assets=inputs.assets,
        layer_cache=inputs.layer_cache,
        registries=registries.settings(),
        require_images=read_image_list(required) if required else (),
        verify=output.verify,
        checksum=output.checksum,
        dry_run=output.dry_run,
        secureboot=secureboot.secureboot_dir,
    )
    reporter = display.reporter()
    started = time.monotonic()
    with planned_build(profile, options, reporter) as planned:
        if output.dry_run:
            display.answer(lambda: render.plan_text(planned), lambda: render.plan_json(planned))
            return
        written = write_build(planned, options, reporter)
        seconds = time.monotonic() - started
    display.summary(
        lambda: render.result_text(planned, written, seconds),
        lambda: render.result_json(planned, written, seconds),
    )


def _read_layer(source: str) -> Mapping[str, Any]:
    from imager.profile.load import LARGEST_PROFILE, parse_yaml, read_builtin

    if source == STDIN or "/" in source or source.endswith((".yaml", ".yml")):
        text = read_input(source, what="profile", limit=LARGEST_PROFILE)
        return parse_yaml(text, source=input_name(source))
    return read_builtin(source)


def _without_unset(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given: no None, and no mapping without any."""
    given = {
        key: _without_unset(value) if isinstance(value, Mapping) else value
        for key, value in layer.items()
        if value is not None
    }
    return {key: value for key, value in given.items() if value != {}}


def _container_asset(text: str | None, *, insecure: bool) -> Mapping[str, Any]:
    """Return what `--image-cache` names: a path that exists, a registry reference, or a path."""
    force = {"forceInsecure": True} if insecure else {}
    if text is None:
        return force
    from imager.oci.reference import is_strict_reference

    remote = not Path(text).exists() and is_strict_reference(text)
    place = {"imageRef": text, "ociPath": ""} if remote else {"ociPath": text, "imageRef": ""}
    return {**place, "tarballPath": "", **force}


def _meta_content(text: str) -> Mapping[str, Any]:
    from imager.bootassets.meta import parse_meta_option

    key, value = parse_meta_option(text)
    return {"key": key, "value": value}
