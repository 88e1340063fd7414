"""`imager images cache-...`: look into a cache, check it, compare it with another."""

from __future__ import annotations

from typing import Annotated

import typer

from imager.cli.commands import App
from imager.cli.help import CACHES
from imager.cli.options import (
    LayerCacheFolder,
    Registries,
    Results,
    parse_platforms,
)

app = App()

_DIFFERENT = 1  # the exit code of diff(1)

_Source = Annotated[
    str,
    typer.Argument(
        metavar="PATH|REF",
        help="Image cache: a layout, flat tree, tar, ISO, disk image, or a registry reference.",
    ),
]
_Platform = Annotated[
    list[str] | None,
    typer.Option(
        metavar="OS/ARCH",
        show_default="those of the cache",
        help="Platforms to check, separated by commas.",
    ),
]


@app.command("cache-info", rich_help_panel=CACHES)
def cache_info(
    source: _Source,
    *,
    layer_cache: LayerCacheFolder = None,
    registries: Registries,
    display: Results,
) -> None:
    """Show the images of a cache, what they share, and the volume size that it needs."""
    from imager.cache import info
    from imager.cache.opener import CacheOpener
    from imager.cli import cache_text
    from imager.support.partials import scratch_folder

    settings = registries.settings()
    opener = CacheOpener(settings, layer_cache, display.reporter())
    with scratch_folder() as scratch:
        found = info.cache_info(opener.open(source, scratch), scratch=scratch)
    display.answer(lambda: cache_text.info_text(found), lambda: cache_text.info_json(found))


@app.command("cache-verify", rich_help_panel=CACHES)
def cache_verify(
    source: _Source,
    *,
    platform: _Platform = None,
    layer_cache: LayerCacheFolder = None,
    registries: Registries,
    display: Results,
) -> None:
    """Check a cache: digests must match, and images must be complete for their platforms."""
    from imager.cache.opener import CacheOpener
    from imager.cache.verify import verify_cache
    from imager.cli import cache_text
    from imager.support.errors import InputError
    from imager.support.partials import scratch_folder
    from imager.support.units import count

    reporter = display.reporter()
    settings = registries.settings()
    opener = CacheOpener(settings, layer_cache, reporter)
    with scratch_folder() as scratch:
        found = verify_cache(
            lambda fail: opener.open(source, scratch, fail=fail),
            platforms=parse_platforms(platform),
            reporter=reporter,
        )
    if display.json_output:
        typer.echo(cache_text.verification_json(source, found))
    if found.problems:
        lines = "".join(f"\n  {problem}" for problem in found.problems)
        raise InputError(
            f"{source}: {count(len(found.problems), 'problem')}{lines}",
            hint=found.hint or "copy the cache again, or create it again",
        )
    if not display.json_output and not display.quiet:
        typer.echo(cache_text.verification_text(found))


@app.command("cache-diff", rich_help_panel=CACHES)
def cache_diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A path or a registry reference.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="A path or a registry reference.")],
    *,
    layer_cache: LayerCacheFolder = None,
    registries: Registries,
    display: Results,
) -> None:
    """Compare two caches, however they are packed. The exit code is 1 if they differ."""
    from imager.cache.diff import diff_caches
    from imager.cache.opener import CacheOpener
    from imager.cli import cache_text
    from imager.support.partials import scratch_folder

    settings = registries.settings()
    opener = CacheOpener(settings, layer_cache, display.reporter())
    with scratch_folder() as scratch:
        caches = [opener.open(source, scratch).cache for source in (old, new)]
    found = diff_caches(*caches)
    if display.json_output or not found.same:
        display.summary(lambda: cache_text.diff_text(found), lambda: cache_text.diff_json(found))
    raise typer.Exit(0 if found.same else _DIFFERENT)
