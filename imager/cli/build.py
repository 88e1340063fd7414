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
    CACHE_HELP,
    ArchName,
    LayerCacheFolder,
    Registries,
    RequiredImages,
    Results,
    flag,
    option,
)
from imager.support.errors import InputError
from imager.support.inputs import input_name

_OUT = Path("/out")
_LOCAL_OUT = Path("_out")
_OF_PROFILE = "that of the profile"

BootloaderName = Literal["dual-boot", "sd-boot", "grub"]
EnrollKeysName = Literal["off", "manual", "if-safe", "force"]
# What a profile may name, less what is not made yet.
OutputKindName = Literal["iso", "image", "usb", "kernel", "initramfs", "uki", "cmdline"]
OutFormatName = Literal["raw", ".zst"]


@dataclass(frozen=True, slots=True)
class Inputs:
    """The options on what an output is made of."""

    PANEL: ClassVar[str] = INPUTS

    image_cache: Annotated[str | None, option("PATH|REF", CACHE_HELP)] = None
    require_images: RequiredImages = None
    layer_cache: LayerCacheFolder = None
    assets: Annotated[
        Path | None,
        option(
            "FOLDER",
            "Folder of boot assets, such as /usr/install of a Talos imager image.",
            default="$IMAGER_ASSETS, /usr/install, the user's cache",
        ),
    ] = None
    talos_version: Annotated[
        str | None,
        option(
            "VERSION",
            "Talos release to build for.",
            default="the file `version` beside the boot assets, else v1.9.0",
        ),
    ] = None
    arch: Annotated[
        ArchName | None, option(None, "Architecture of the machine.", default="amd64")
    ] = None
    platform: Annotated[
        Literal["metal"] | None, option(None, "Talos platform.", default="metal")
    ] = None
    extra_kernel_arg: Annotated[
        list[str] | None, option("ARG", "Kernel argument to add; -NAME removes one.")
    ] = None
    meta: Annotated[list[str] | None, option("KEY=VALUE", "META value, such as 0xa=VALUE.")] = None

    def layer(self) -> Mapping[str, Any]:
        """Return what these options say, as a layer over a profile."""
        from imager.app.profiles import image_cache_layer

        return {
            "platform": self.platform,
            "arch": self.arch,
            "version": self.talos_version,
            "customization": {
                "extraKernelArgs": self.extra_kernel_arg,
                "metaContents": [_meta_content(text) for text in self.meta or ()] or None,
            },
            **(image_cache_layer(self.image_cache) if self.image_cache else {}),
        }


@dataclass(frozen=True, slots=True)
class Output:
    """The options on what is made, and where."""

    PANEL: ClassVar[str] = OUTPUT

    output: Annotated[
        Path | None,
        option(
            "FOLDER|FILE",
            "Folder for the output, or a file that ends in its suffix; made if missing.",
            "--output",
            "-o",
            default="/out if it exists, else ./_out",
        ),
    ] = None
    no_clobber: Annotated[
        bool, flag("--no-clobber", "Fail rather than replace an existing output.")
    ] = False
    output_kind: Annotated[
        OutputKindName | None, option(None, "What to make.", default=_OF_PROFILE)
    ] = None
    out_format: Annotated[
        OutFormatName | None,
        option(None, "Whether a disk or stick is compressed.", default=_OF_PROFILE),
    ] = None
    image_disk_size: Annotated[
        str | None,
        option(
            "SIZE",
            "Total size of a disk or stick, such as 4GiB.",
            default="that of Talos, or the smallest that works",
        ),
    ] = None
    bootloader: Annotated[
        BootloaderName | None,
        option(None, "What boots the output.", default="that of the Talos release"),
    ] = None
    verify: Annotated[bool, option(None, "Check the digest of every blob while it is copied.")] = (
        True
    )
    checksum: Annotated[bool, flag("--checksum", "Print the SHA-256 of the output.")] = False
    dry_run: Annotated[bool, flag("--dry-run", "Print the plan and write nothing.")] = False
    files: Annotated[
        bool,
        flag("--files", "With --dry-run: print every part of the output, with its exact place."),
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

    secureboot_dir: Annotated[Path, option("FOLDER", "Folder of the keys and certificates.")] = (
        Path("/secureboot")
    )
    secureboot_include_well_known_certs: Annotated[
        bool,
        flag(
            "--secureboot-include-well-known-certs",
            "Also trust the certificates in well-known/db and well-known/KEK of that folder.",
        ),
    ] = False
    secureboot_enroll_keys: Annotated[
        EnrollKeysName | None,
        option(None, "How firmware in setup mode gets the keys.", default="if-safe"),
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
    from imager.app.build import BuildOptions, planned_build, write_build
    from imager.app.profiles import read_layer
    from imager.cli import render
    from imager.cli.naming import Naming
    from imager.profile.load import load_profile, merged
    from imager.profile.names import builtin_names

    if output.files and not output.dry_run:
        raise InputError("--files is for plans", hint="give --dry-run as well")
    source = context.info_name or ""
    layers = (inputs.layer(), output.layer(), secureboot.layer())
    written, given = read_layer(source), merged(map(_without_unset, layers))
    naming = Naming({} if source in builtin_names() else written, given)
    profile = load_profile(written, given, source=input_name(source), name=naming.of)
    options = BuildOptions(
        output=output.place(),
        assets=inputs.assets,
        layer_cache=inputs.layer_cache,
        registries=registries.settings(),
        require_images=inputs.require_images or (),
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
            display.answer(text, render.plan_json, planned, naming)
            planned.check_space()
            return
        written_file = write_build(planned, options, reporter)
        seconds = time.monotonic() - started
    display.summary(render.result_text, render.result_json, planned, written_file, seconds)


def _without_unset(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given: no None, and no mapping without any."""
    given = {
        key: _without_unset(value) if isinstance(value, Mapping) else value
        for key, value in layer.items()
        if value is not None
    }
    return {key: value for key, value in given.items() if value != {}}


def _meta_content(text: str) -> Mapping[str, Any]:
    key, separator, value = text.partition("=")
    if not separator:
        raise InputError(
            f"--meta {text!r} has no value", hint="write it as KEY=VALUE, for example 0xc=value"
        )
    return {"key": key, "value": value}
