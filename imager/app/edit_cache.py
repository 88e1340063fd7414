"""Change an image cache in place: add or remove images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from imager.app.create_cache import Images
from imager.cache.edit import (
    Addition,
    Pruning,
    Wanted,
    keeping_options,
    plan_addition,
    plan_pruning,
)
from imager.cache.open import open_cache
from imager.cache.opened import OpenedCache
from imager.cache.plan import CreateOptions
from imager.cache.write import check_creatable, write_gathered
from imager.support.reporter import QUIET, Reporter


def add_images(path: Path, images: Images, reporter: Reporter = QUIET) -> Addition:
    """Add images to the cache at `path`, by default for the platforms of the cache.

    Existing blobs are not fetched again. A tag that now names another image is replaced. Raises
    InputError for a damaged cache or invalid images, UnsupportedError for a cache in an ISO or disk
    image, DependencyError if a registry fails.
    """
    opened, options = _editable(path, jobs=images.jobs)
    own = [str(each) for each in opened.entries or opened.cache.platforms]
    images = replace(images, platforms=images.platforms or own)
    addition = plan_addition(opened, images.read(reporter))
    for image in addition.moved:
        reporter.warn(
            f"{image.reference} now refers to another image: {image.root.digest} is replaced"
        )
    if addition.changes:
        write_gathered(addition.gathered, path, options=options, reporter=reporter)
    return addition


def prune_cache(
    path: Path, wanted: Wanted, reporter: Reporter = QUIET, *, dry_run: bool = False
) -> Pruning:
    """Remove everything except the `wanted` images from the cache at `path`.

    Blobs that no image needs are removed as well. Raises InputError if the cache lacks a listed
    image or no image would be left, UnsupportedError for a cache in an ISO or disk image.
    """
    opened, options = _editable(path, jobs=1)
    pruning = plan_pruning(opened, wanted)
    if pruning.changes and not dry_run:
        write_gathered(pruning.gathered, path, options=options, reporter=reporter)
    return pruning


def _editable(path: Path, *, jobs: int) -> tuple[OpenedCache, CreateOptions]:
    opened = open_cache(path)
    options = keeping_options(opened, jobs=jobs)
    check_creatable(path, force=True, archive=options.archive)
    return opened, options
