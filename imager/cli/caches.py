"""`imager images cache-info`, `cache-verify` and `cache-diff`: inspect and compare caches."""

from __future__ import annotations

from typing import Annotated

import typer

from imager.cli.declare import argument, option
from imager.cli.options import (
    CACHE_HELP,
    DIFFERENT,
    POLICY_HELP,
    LayerCacheFolder,
    Registries,
    Results,
    TrustedRootFile,
    parse_platforms,
    policy_files,
)

_Source = Annotated[str, argument("PATH|REF", CACHE_HELP)]


def cache_info(
    source: _Source,
    *,
    layer_cache: LayerCacheFolder = None,
    registries: Registries,
    display: Results,
) -> None:
    """Show the images of a cache, what they share, and the volume size that it needs."""
    from imager.app.read_caches import describe_cache
    from imager.cache.location import CacheLocation
    from imager.cli.cache_text import info_json, info_text

    options = registries.pulling(layer_cache)
    info = describe_cache(CacheLocation.parse(source), options, display.reporter())
    display.answer(info_text, info_json, info)


def cache_verify(
    source: _Source,
    *,
    platform: Annotated[
        list[str] | None,
        option("OS/ARCH", "Platforms to check, separated by commas.", default="those of the cache"),
    ] = None,
    policy: Annotated[
        str | None, option("FILE", f"Check the images' signatures against a policy: {POLICY_HELP}")
    ] = None,
    trusted_root: TrustedRootFile = None,
    layer_cache: LayerCacheFolder = None,
    registries: Registries,
    display: Results,
) -> None:
    """Check a cache: digests must match, and images must be complete for their platforms."""
    from imager.app.read_caches import verify_cache
    from imager.cache.location import CacheLocation
    from imager.cli.cache_text import verification_json, verification_text
    from imager.cli.commands import raise_problems

    options = registries.pulling(layer_cache)
    location, platforms = CacheLocation.parse(source), parse_platforms(platform)
    files = policy_files(policy, trusted_root, option="--policy")
    found = verify_cache(location, options, display.reporter(), platforms=platforms, policy=files)
    if display.json_output or not found.problems:
        display.summary(verification_text, verification_json, source, found)
    hint = found.hint or "copy the cache again, or create it again"
    raise_problems(source, found.problems, hint=hint)


def cache_diff(
    old: Annotated[str, argument("OLD", "A path or a registry reference.")],
    new: Annotated[str, argument("NEW", "A path or a registry reference.")],
    *,
    layer_cache: LayerCacheFolder = None,
    registries: Registries,
    display: Results,
) -> None:
    """Compare two caches, regardless of their packing. The exit code is 1 if they differ."""
    from imager.app.read_caches import compare_caches
    from imager.cache.location import CacheLocation
    from imager.cli.cache_text import diff_json, diff_text

    options = registries.pulling(layer_cache)
    locations = CacheLocation.parse(old), CacheLocation.parse(new)
    diff = compare_caches(*locations, options, display.reporter())
    if display.json_output or not diff.same:
        display.summary(diff_text, diff_json, diff)
    raise typer.Exit(0 if diff.same else DIFFERENT)
