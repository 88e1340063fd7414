"""`imager images cache-add` and `cache-prune`: change a cache in place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from imager.cli.declare import argument, flag, option
from imager.cli.image_options import ImageOptions
from imager.cli.options import LIST, Jobs, Registries, Results, parse_platforms

_Folder = Annotated[
    Path, argument("PATH", "Image cache: a layout, a flat tree, or a tar of either.")
]


@dataclass(frozen=True, slots=True)
class AddedImages(ImageOptions):
    """The options for images to add, by default for the platforms of the cache."""

    platform: Annotated[
        list[str] | None,
        option(
            "OS/ARCH",
            "Platforms to add, separated by commas, or all.",
            default="those of the cache",
        ),
    ] = None


def cache_add(
    path: _Folder, *, images: AddedImages, registries: Registries, jobs: Jobs = 4, display: Results
) -> None:
    """Add images to a cache in place. Blobs that it already has are not fetched again.

    If a tag now refers to another image, the old image is replaced.
    """
    from imager.app.edit_cache import add_images
    from imager.cli.cache_text import addition_json, addition_text

    addition = add_images(path, images.to_cache(registries, jobs), display.reporter())
    display.summary(addition_text, addition_json, path, addition)


def cache_prune(
    path: _Folder,
    *,
    keep: Annotated[list[str] | None, option("LIST", f"Keep only these images: {LIST}.")] = None,
    remove: Annotated[list[str] | None, option("LIST", f"Remove these images: {LIST}.")] = None,
    platform: Annotated[
        list[str] | None,
        option("OS/ARCH", "Platforms to keep, separated by commas.", default="all"),
    ] = None,
    dry_run: Annotated[
        bool, flag("--dry-run", "Print what would be removed, and write nothing.")
    ] = False,
    display: Results,
) -> None:
    """Remove images or platforms from a cache in place, and the blobs that no image needs."""
    from imager.app.edit_cache import prune_cache
    from imager.cache.edit import Wanted
    from imager.cache.lists import read_image_list
    from imager.cli.cache_text import pruning_json, pruning_text

    wanted = Wanted(
        read_image_list(keep) if keep else None,
        read_image_list(remove) if remove else (),
        parse_platforms(platform),
    )
    pruning = prune_cache(path, wanted, display.reporter(), dry_run=dry_run)
    show = display.answer if dry_run else display.summary
    show(pruning_text, pruning_json, path, pruning, dry_run=dry_run)
