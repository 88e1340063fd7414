"""`imager images`: lists of images, and image caches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imager.cli.options import (
    DEFAULT_PLATFORM,
    CosignSignatures,
    Jobs,
    Json,
    LayerCacheFolder,
    Progress,
    Quiet,
    Registries,
    flattened,
)
from imager.reporter import ProgressStyle, make_reporter

app = typer.Typer(no_args_is_help=True)


@app.command("k8s-bundle", hidden=True)
@app.command("default")
def default(
    talos_version: Annotated[
        str | None, typer.Option(help="Release of Talos; default: v1.9.0.")
    ] = None,
) -> None:
    """Print the images that a Talos release needs, one a line."""
    from imager.imagecache.defaults import default_images
    from imager.profile.version import DEFAULT_VERSION

    for reference in default_images(talos_version or DEFAULT_VERSION):
        typer.echo(reference)


@app.command("list")
def list_(
    sources: Annotated[
        list[str],
        typer.Option(
            "--from",
            metavar="FILE|DIR|-",
            help="Kubernetes manifests or Talos machine configurations, as YAML or JSON: "
            "a file, a folder, or - for standard input. May be repeated.",
        ),
    ],
) -> None:
    """Print the images that manifests name. Machine configurations are read as well."""
    from imager.imagecache.listing import list_images

    for reference in list_images(sources, reporter=make_reporter(ProgressStyle.AUTO)):
        typer.echo(reference)


@app.command("cache-create")
@flattened
def cache_create(
    *,
    image_cache_path: Annotated[Path, typer.Option(help="Folder to make.")],
    images: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="File with one image a line, or - for standard input: a registry reference, "
            "NAME=oci:DIR[:TAG], or [NAME=]docker-archive:FILE[:REF].",
        ),
    ],
    platform: Annotated[
        list[str] | None,
        typer.Option(
            help="Platforms to cache, or all; default: linux/amd64. May be repeated or "
            "comma-separated."
        ),
    ] = None,
    registries: Registries,
    cosign_signatures: CosignSignatures = True,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing cache.")] = False,
    layout: Annotated[
        str, typer.Option(help="oci: an OCI layout with one layer; flat: the bare tree.")
    ] = "oci",
    jobs: Jobs = 4,
    layer_cache: LayerCacheFolder = None,
    layer_compression: Annotated[
        str, typer.Option(help="none, gzip or zstd; blobs are compressed already.")
    ] = "none",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be fetched, and write nothing.")
    ] = False,
    json_output: Json = False,
    quiet: Quiet = False,
    progress: Progress = ProgressStyle.AUTO,
) -> None:
    """Make a cache of images. The profiles take it with --image-cache."""
    from imager.cli.creation_text import CreationReport
    from imager.imagecache.create import check_creatable, write_cache
    from imager.imagecache.creation import CreateOptions, plan_creation
    from imager.imagecache.gather import Selection, gather
    from imager.imagecache.lists import read_lines
    from imager.oci.registry import RegistryClient
    from imager.units import count

    options = CreateOptions.parse(
        layout=layout, compression=layer_compression, jobs=jobs, layer_cache=layer_cache
    )
    selection = Selection.parse(platform or [DEFAULT_PLATFORM], signatures=cosign_signatures)
    check_creatable(image_cache_path, force=force)
    reporter = make_reporter(ProgressStyle.NONE if quiet else progress)
    settings = registries.settings()
    entries = read_lines(images)
    reporter.step(f"reading the manifests of {count(len(entries), 'image')}")
    client = RegistryClient.from_settings(settings)
    gathered = gather(
        entries, client=client, selection=selection, jobs=jobs, layer_cache=options.layer_cache
    )
    for warning in gathered.warnings:
        reporter.warn(warning)
    plan = plan_creation(gathered, image_cache_path, options)
    report = CreationReport(plan, image_cache_path, len(entries))
    if dry_run:
        typer.echo(report.plan_json() if json_output else report.plan_text())
        return
    created = write_cache(plan, reporter=reporter)
    if json_output:
        typer.echo(report.created_json(created))
    elif not quiet:
        typer.echo(report.created_text(created))
