"""`imager images`: lists of images, and image caches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imager.reporter import ProgressStyle, make_reporter

app = typer.Typer(no_args_is_help=True)

_DEFAULT_PLATFORM = "linux/amd64"


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


@app.command("cache-create")
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
        typer.Option(help="Platforms to cache, or all. May be repeated or comma-separated."),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow HTTP and unknown certificates.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing cache.")] = False,
    layout: Annotated[
        str, typer.Option(help="oci: an OCI layout with one layer; flat: the bare tree.")
    ] = "oci",
    jobs: Annotated[
        int,
        typer.Option("--jobs", "-j", min=1, max=64, help="How much to fetch at a time."),
    ] = 4,
    layer_compression: Annotated[
        str, typer.Option(help="none, gzip or zstd; blobs are compressed already.")
    ] = "none",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is wrong.")] = False,
    progress: Annotated[
        ProgressStyle, typer.Option(help="How progress is shown, on standard error.")
    ] = ProgressStyle.AUTO,
) -> None:
    """Pull images, and make the cache of them that the profiles take with --image-cache."""
    from imager.imagecache.create import CreateOptions, check_creatable, create_cache
    from imager.imagecache.gather import Selection, gather
    from imager.imagecache.lists import read_lines
    from imager.oci.registry import RegistryClient
    from imager.units import count, format_size

    options = CreateOptions.parse(layout=layout, compression=layer_compression, jobs=jobs)
    selection = Selection.parse(platform or [_DEFAULT_PLATFORM])
    check_creatable(image_cache_path, force=force)
    reporter = make_reporter(ProgressStyle.NONE if quiet else progress)
    entries = read_lines(images)
    reporter.step(f"reading the manifests of {count(len(entries), 'image')}")
    client = RegistryClient.default(insecure=insecure)
    gathered = gather(entries, client=client, selection=selection, jobs=jobs)
    for warning in gathered.warnings:
        reporter.warn(warning)
    created = create_cache(gathered, image_cache_path, options=options, reporter=reporter)
    if not quiet:
        platforms = ", ".join(str(each) for each in sorted(gathered.platforms))
        typer.echo(
            f"{created.path}: {count(len(entries), 'image')} for {platforms}, "
            f"{count(len(gathered.blobs), 'blob')}, "
            f"{created.blob_size} bytes ({format_size(created.blob_size)})"
        )
        if created.layer is not None:
            typer.echo(f"  layer {created.layer.digest}, {created.layer.size} bytes")
