"""`imager images cache-add` and `cache-prune`: change a cache in place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imager.cli.commands import App
from imager.cli.help import CACHES
from imager.cli.options import (
    DEFAULT_PLATFORM,
    CosignSignatures,
    ImageLists,
    Jobs,
    KeptImages,
    MissingPlatforms,
    Registries,
    RemovedImages,
    Results,
    parse_platforms,
)

if TYPE_CHECKING:
    from imager.oci.reference import Reference

app = App()

_Folder = Annotated[
    Path,
    typer.Argument(metavar="PATH", help="Image cache: a layout, a flat tree, or a tar of either."),
]


@app.command("cache-add", rich_help_panel=CACHES)
def cache_add(
    path: _Folder,
    *,
    images: ImageLists,
    platform: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OS/ARCH",
            show_default="those of the cache",
            help="Platforms to add, separated by commas, or all.",
        ),
    ] = None,
    missing_platform: MissingPlatforms = "fail",
    registries: Registries,
    cosign_signatures: CosignSignatures = True,
    jobs: Jobs = 4,
    display: Results,
) -> None:
    """Add images to a cache in place. What it has is not fetched again.

    A tag that names another image now is replaced.
    """
    from imager.cache.edit import keeping_options, plan_addition
    from imager.cache.lists import read_entries
    from imager.cache.open import open_whole_cache
    from imager.cache.resolve import gather
    from imager.cache.selection import MissingPlatform, Selection
    from imager.cache.write import check_creatable, create_cache
    from imager.cli import cache_text
    from imager.oci.registry import RegistryClient
    from imager.support.units import count

    opened = open_whole_cache(path)
    options = keeping_options(opened, jobs=jobs)
    check_creatable(path, force=True, archive=options.archive)
    own = [str(each) for each in opened.entries or opened.cache.platforms]
    platforms = platform or own or [DEFAULT_PLATFORM]
    selection = Selection.parse(
        platforms, signatures=cosign_signatures, missing=MissingPlatform(missing_platform)
    )
    reporter = display.reporter()
    settings = registries.settings()
    entries = read_entries(images)
    client = RegistryClient.from_settings(settings)
    with reporter.waiting(f"reading the manifests of {count(len(entries), 'image')}"):
        fetched = gather(entries, client=client, selection=selection, jobs=jobs)
    for warning in fetched.warnings:
        reporter.warn(warning)
    addition = plan_addition(opened, fetched)
    for image in addition.moved:
        reporter.warn(f"{image.reference} is another image now: {image.root.digest} is replaced")
    if addition.changes:
        create_cache(addition.gathered, path, options=options, reporter=reporter)
    display.summary(
        lambda: cache_text.addition_text(path, addition),
        lambda: cache_text.addition_json(path, addition),
    )


@app.command("cache-prune", rich_help_panel=CACHES)
def cache_prune(
    path: _Folder,
    *,
    keep: KeptImages = None,
    remove: RemovedImages = None,
    platform: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OS/ARCH", show_default="all", help="Platforms to keep, separated by commas."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be removed, and write nothing.")
    ] = False,
    display: Results,
) -> None:
    """Remove images or platforms from a cache in place, and the blobs that no image needs."""
    from imager.cache.edit import Wanted, keeping_options, plan_pruning
    from imager.cache.open import open_whole_cache
    from imager.cache.write import check_creatable, create_cache
    from imager.cli import cache_text

    opened = open_whole_cache(path)
    options = keeping_options(opened, jobs=1)
    check_creatable(path, force=True, archive=options.archive)
    wanted = Wanted(_images(keep), _images(remove) or (), parse_platforms(platform))
    pruning = plan_pruning(opened, wanted)
    if pruning.changes and not dry_run:
        create_cache(pruning.gathered, path, options=options, reporter=display.reporter())
    show = display.answer if dry_run else display.summary
    show(
        lambda: cache_text.pruning_text(path, pruning, dry_run=dry_run),
        lambda: cache_text.pruning_json(path, pruning, dry_run=dry_run),
    )


def _images(lists: list[str] | None) -> tuple[Reference, ...] | None:
    from imager.cache.lists import read_image_list

    return read_image_list(lists) if lists else None
