"""`imager images cache-add` and `cache-prune`: change a cache in place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imager.cli.options import (
    DEFAULT_PLATFORM,
    CosignSignatures,
    Jobs,
    Progress,
    Quiet,
    Registries,
    flattened,
    parse_platforms,
)
from imager.reporter import ProgressStyle, make_reporter

if TYPE_CHECKING:
    from imager.oci.reference import Reference

app = typer.Typer()

_Folder = Annotated[Path, typer.Argument(metavar="PATH", help="A layout or a flat tree.")]


@app.command("cache-add")
@flattened
def cache_add(
    path: _Folder,
    *,
    images: Annotated[
        str, typer.Option(metavar="LIST", help="File as for cache-create, or - for standard input.")
    ],
    platform: Annotated[
        list[str] | None,
        typer.Option(
            help="Platforms to add, or all; default: those of the cache. May be repeated or "
            "comma-separated."
        ),
    ] = None,
    registries: Registries,
    cosign_signatures: CosignSignatures = True,
    jobs: Jobs = 4,
    quiet: Quiet = False,
    progress: Progress = ProgressStyle.AUTO,
) -> None:
    """Add images to a cache. What it has is not fetched again, tags that moved are replaced."""
    from imager.cli import cache_text
    from imager.imagecache.create import check_creatable, create_cache
    from imager.imagecache.gather import Selection, gather
    from imager.imagecache.keep import keeping_options, plan_addition
    from imager.imagecache.lists import read_lines
    from imager.imagecache.open import open_whole_cache
    from imager.oci.registry import RegistryClient
    from imager.units import count

    opened = open_whole_cache(path)
    options = keeping_options(opened, jobs=jobs)
    check_creatable(path, force=True)
    own = [str(each) for each in opened.cache.platforms]
    platforms = platform or own or [DEFAULT_PLATFORM]
    selection = Selection.parse(platforms, signatures=cosign_signatures)
    reporter = make_reporter(ProgressStyle.NONE if quiet else progress)
    settings = registries.settings()
    entries = read_lines(images)
    reporter.step(f"reading the manifests of {count(len(entries), 'image')}")
    client = RegistryClient.from_settings(settings)
    fetched = gather(entries, client=client, selection=selection, jobs=jobs)
    for warning in fetched.warnings:
        reporter.warn(warning)
    addition = plan_addition(opened.cache, fetched)
    for image in addition.moved:
        reporter.warn(f"{image.reference} is another image now: {image.root.digest} is replaced")
    if addition.changes:
        create_cache(addition.gathered, path, options=options, reporter=reporter)
    if not quiet:
        typer.echo(cache_text.addition_text(path, addition))


@app.command("cache-prune")
def cache_prune(
    path: _Folder,
    *,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="Keep these images alone: a file, or - for standard input."
        ),
    ] = None,
    remove: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="Take these images out: a file, or - for standard input."
        ),
    ] = None,
    platform: Annotated[
        list[str] | None,
        typer.Option(help="Platforms to keep; default: all. May be repeated or comma-separated."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would go, and write nothing.")
    ] = False,
    quiet: Quiet = False,
    progress: Progress = ProgressStyle.AUTO,
) -> None:
    """Take images out of a cache. Also platforms, and the blobs that no image needs."""
    from imager.cli import cache_text
    from imager.imagecache.create import check_creatable, create_cache
    from imager.imagecache.keep import Wanted, keeping_options, plan_pruning
    from imager.imagecache.open import open_whole_cache

    opened = open_whole_cache(path)
    options = keeping_options(opened, jobs=1)
    check_creatable(path, force=True)
    wanted = Wanted(_images(keep), _images(remove) or (), parse_platforms(platform))
    pruning = plan_pruning(opened, wanted)
    if pruning.changes and not dry_run:
        reporter = make_reporter(ProgressStyle.NONE if quiet else progress)
        create_cache(pruning.gathered, path, options=options, reporter=reporter)
    if dry_run or not quiet:
        typer.echo(cache_text.pruning_text(path, pruning, dry_run=dry_run))


def _images(source: str | None) -> tuple[Reference, ...] | None:
    from imager.imagecache.lists import read_image_list

    return read_image_list(source) if source is not None else None
