"""The command behind every profile: options become a layer over it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from imager.cli.options import (
    LayerCacheFolder,
    Progress,
    Quiet,
    Registries,
    flattened,
)
from imager.reporter import ProgressStyle, make_reporter
from imager.textinput import STDIN, input_name, read_input

_OUT = Path("/out")
_LOCAL_OUT = Path("_out")


@flattened
def build(
    context: typer.Context,
    *,
    platform: Annotated[str | None, typer.Option(help="Platform of the output: metal.")] = None,
    arch: Annotated[str | None, typer.Option(help="amd64 or arm64.")] = None,
    talos_version: Annotated[
        str | None,
        typer.Option(
            help="Talos version to build for; default: the file `version` beside the boot assets, "
            "else v1.9.0.",
        ),
    ] = None,
    assets: Annotated[
        Path | None,
        typer.Option(help="Folder with boot assets, such as /usr/install of a Talos imager."),
    ] = None,
    image_cache: Annotated[
        str | None,
        typer.Option(
            help="Image cache: a layout, flat tree, tar, ISO, disk image, or a registry reference."
        ),
    ] = None,
    require_images: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Fail unless the cache has every image of this file."),
    ] = None,
    layer_cache: LayerCacheFolder = None,
    registries: Registries,
    extra_kernel_arg: Annotated[
        list[str] | None,
        typer.Option(help="Kernel argument to add; -NAME removes one. May be repeated."),
    ] = None,
    meta: Annotated[
        list[str] | None, typer.Option(help="META value, KEY=VALUE (0xa=...). May be repeated.")
    ] = None,
    image_disk_size: Annotated[
        str | None,
        typer.Option(help="Total size of a disk or stick, such as 4GiB; default: the smallest."),
    ] = None,
    bootloader: Annotated[
        str | None,
        typer.Option(help="dual-boot, sd-boot or grub; default: the Talos version's own."),
    ] = None,
    secureboot_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder with the keys and certificates of SecureBoot; default: /secureboot.",
        ),
    ] = None,
    secureboot_include_well_known_certs: Annotated[
        bool,
        typer.Option(
            "--secureboot-include-well-known-certs",
            help="Trust the certificates in well-known/db and well-known/KEK of that folder too.",
        ),
    ] = False,
    secureboot_enroll_keys: Annotated[
        str | None,
        typer.Option(
            help="How firmware gets the keys: off, manual, if-safe (the default) or force."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for the output; default: /out if it exists, else ./_out."),
    ] = None,
    output_kind: Annotated[
        str | None, typer.Option(help="iso, image, usb, kernel, initramfs, uki or cmdline.")
    ] = None,
    out_format: Annotated[
        str | None, typer.Option(help="raw, or .zst for a compressed disk or stick.")
    ] = None,
    verify: Annotated[
        bool, typer.Option(help="Check the digest of every blob while it is copied.")
    ] = True,
    checksum: Annotated[
        bool, typer.Option("--checksum", help="Tell the SHA-256 of the output.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and write nothing.")
    ] = False,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print the plan or the result as JSON.")
    ] = False,
    quiet: Quiet = False,
    progress: Progress = ProgressStyle.AUTO,
) -> None:
    """Build the profile that the command is named after."""
    from imager.build import Options, planned_build, write_build
    from imager.cli import render
    from imager.imagecache.lists import read_image_list
    from imager.profile.load import load_profile
    from imager.signing.secureboot import DEFAULT_FOLDER

    flags = {
        "platform": platform,
        "arch": arch,
        "version": talos_version,
        "customization": {
            "extraKernelArgs": extra_kernel_arg,
            "metaContents": [_meta_content(text) for text in meta or ()] or None,
        },
        "input": {
            "imageCache": _container_asset(image_cache, insecure=registries.insecure),
            "secureboot": {"includeWellKnownCerts": secureboot_include_well_known_certs or None},
        },
        "output": {
            "kind": output_kind,
            "outFormat": out_format,
            "imageOptions": {
                "diskSize": image_disk_size,
                "bootloader": bootloader,
                "sdBootEnrollKeys": secureboot_enroll_keys,
            },
            "isoOptions": {
                "bootloader": bootloader,
                "sdBootEnrollKeys": secureboot_enroll_keys,
            },
        },
    }
    source = context.info_name or ""
    profile = load_profile(_read_layer(source), _without_unset(flags), source=input_name(source))
    options = Options(
        output=_output_folder(output, create=not dry_run),
        assets=assets,
        layer_cache=layer_cache,
        registries=registries.settings(),
        require_images=read_image_list(require_images) if require_images else (),
        verify=verify,
        checksum=checksum,
        dry_run=dry_run,
        secureboot=secureboot_dir or DEFAULT_FOLDER,
    )
    reporter = make_reporter(ProgressStyle.NONE if quiet else progress)
    started = time.monotonic()
    with planned_build(profile, options, reporter) as planned:
        if dry_run:
            typer.echo(render.plan_json(planned) if json_output else render.plan_text(planned))
            return
        written = write_build(planned, options, reporter)
        seconds = time.monotonic() - started
    if json_output:
        typer.echo(render.result_json(planned, written, seconds))
    elif not quiet:
        typer.echo(render.result_text(planned, written, seconds))


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


def _output_folder(given: Path | None, *, create: bool) -> Path:
    if given is not None:
        return given
    if _OUT.is_dir():
        return _OUT
    if create:
        _LOCAL_OUT.mkdir(exist_ok=True)
    return _LOCAL_OUT
