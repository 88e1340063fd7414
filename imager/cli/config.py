"""`imager config`: machine configurations that go together with an image cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from imager.cli.commands import App
from imager.cli.options import (
    Display,
    LayerCacheFolder,
    Registries,
    Results,
    TalosVersion,
    parse_version,
)

if TYPE_CHECKING:
    from imager.app.check_config import SizedCache
    from imager.cache.opener import CacheOpener
    from imager.support.errors import InvalidConfigError

app = App()

_CACHE_HELP = "Image cache: a layout, flat tree, tar, ISO, disk image, or a registry reference."


@app.command()
def patch(
    *,
    image_cache: Annotated[str, typer.Option(metavar="PATH|REF", help=_CACHE_HELP)],
    talos_version: TalosVersion = None,
    volume: Annotated[
        bool,
        typer.Option(
            "--volume/--no-volume",
            help="Add a volume that the cache is copied to from an ISO; a disk image has one.",
        ),
    ] = True,
    layer_cache: LayerCacheFolder = None,
    registries: Registries,
    display: Display,
) -> None:
    """Print the machine configuration patch that turns a cache on, with a volume for it.

    Pass it to talosctl's --config-patch. The volume is at least as large as the cache needs, and
    at most a fifth larger.
    """
    from imager.cache.opener import CacheOpener
    from imager.talos.config.patch import patch_text
    from imager.talos.versions import require_image_cache

    reporter = display.reporter()
    version = parse_version(talos_version, reporter)
    require_image_cache(version)
    opener = CacheOpener(registries.settings(), layer_cache, reporter)
    sized = _sized(image_cache, opener)
    typer.echo(patch_text(version, sized.volume_size if volume else None), nl=False)


@app.command()
def check(
    source: Annotated[
        str, typer.Argument(metavar="FILE|-", help="Machine configuration; - is standard input.")
    ],
    *,
    image_cache: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|REF", help=f"{_CACHE_HELP} It must fit, and have the needed images."
        ),
    ] = None,
    talos_version: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            show_default="that of the installer image",
            help="Talos release, such as v1.9.0.",
        ),
    ] = None,
    layer_cache: LayerCacheFolder = None,
    registries: Registries,
    strict: Annotated[bool, typer.Option("--strict", help="Treat warnings as errors.")] = False,
    display: Results,
) -> None:
    """Check the image cache settings of a machine configuration, and that a cache fits them."""
    from imager.app.check_config import check_machine_config
    from imager.cache.opener import CacheOpener
    from imager.cli.config_text import checked_json, checked_text, unchecked_json
    from imager.support.errors import InvalidConfigError
    from imager.support.inputs import input_name, read_input
    from imager.talos.config.document import LARGEST_CONFIG

    text = read_input(source, what="machine configuration", limit=LARGEST_CONFIG)
    reporter = display.reporter()
    opener = CacheOpener(registries.settings(), layer_cache, reporter)
    sized = _sized(image_cache, opener) if image_cache else None
    version = None if talos_version is None else parse_version(talos_version, reporter)
    try:
        checked = check_machine_config(
            text, source=input_name(source), version=version, sized=sized
        )
        if strict and checked.warnings:
            raise InvalidConfigError((), warnings=checked.warnings)
    except InvalidConfigError as error:
        told = _with_warnings(error) if strict else error
        if display.json_output:
            typer.echo(unchecked_json(input_name(source), told))
        for warning in told.warnings:
            reporter.warn(warning)
        raise told from error.__cause__
    for warning in checked.warnings:
        reporter.warn(warning)
    display.summary(lambda: checked_text(checked, sized), lambda: checked_json(checked, sized))


def _with_warnings(error: InvalidConfigError) -> InvalidConfigError:
    """Return `error` with its warnings among the problems."""
    from imager.support.errors import InvalidConfigError

    hint = error.hint or ("these are warnings without --strict" if error.warnings else "")
    return InvalidConfigError([*error.problems, *error.warnings], hint=hint)


def _sized(source: str, opener: CacheOpener) -> SizedCache:
    from imager.app.check_config import SizedCache
    from imager.cache.info import node_volume_size
    from imager.support.partials import scratch_folder

    with scratch_folder() as scratch:
        cache = opener.open(source, scratch).cache
        return SizedCache(cache, node_volume_size(cache, scratch=scratch))
