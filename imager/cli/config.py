"""`imager config`: create and check machine configurations for an image cache."""

from __future__ import annotations

from typing import Annotated

import typer

from imager.cli.commands import App
from imager.cli.declare import argument, flag, option
from imager.cli.options import (
    CACHE_HELP,
    Display,
    LayerCacheFolder,
    Registries,
    Results,
    TalosVersion,
    parse_version,
)

app = App()


@app.command()
def patch(
    *,
    image_cache: Annotated[str, option("PATH|REF", CACHE_HELP)],
    talos_version: TalosVersion = None,
    volume: Annotated[
        bool,
        flag(
            "--volume/--no-volume",
            "Add a volume for a cache that is copied from an ISO; disk images already have one.",
        ),
    ] = True,
    layer_cache: LayerCacheFolder = None,
    registries: Registries,
    display: Display,
) -> None:
    """Print a machine configuration patch that enables an image cache, with a volume for it.

    Pass it to talosctl's --config-patch. The volume is at least as large as the cache needs, and
    at most a fifth larger.
    """
    from imager.app.check_config import patch_config
    from imager.cache.location import CacheLocation

    reporter = display.reporter()
    version = parse_version(talos_version, reporter)
    location, options = CacheLocation.parse(image_cache), registries.pulling(layer_cache)
    typer.echo(patch_config(location, version, options, reporter, volume=volume), nl=False)


@app.command()
def check(
    source: Annotated[str, argument("FILE|-", "Machine configuration; - is standard input.")],
    *,
    image_cache: Annotated[
        str | None,
        option("PATH|REF", f"{CACHE_HELP} It must fit the volume and contain the required images."),
    ] = None,
    talos_version: Annotated[
        str | None,
        option("VERSION", "Talos release, such as v1.9.0.", default="that of the installer image"),
    ] = None,
    layer_cache: LayerCacheFolder = None,
    registries: Registries,
    strict: Annotated[bool, flag("--strict", "Treat warnings as errors.")] = False,
    display: Results,
) -> None:
    """Check the image cache settings of a machine configuration, and that a cache fits them."""
    from imager.app.check_config import CheckConfig, check_config
    from imager.cache.location import CacheLocation
    from imager.cli.config_text import checked_json, checked_text, unchecked_json
    from imager.support.errors import InvalidConfigError
    from imager.support.inputs import input_name

    reporter = display.reporter()
    wanted = CheckConfig(
        source,
        CacheLocation.parse(image_cache) if image_cache else None,
        None if talos_version is None else parse_version(talos_version, reporter),
        registries.pulling(layer_cache),
        strict,
    )
    try:
        checked = check_config(wanted, reporter)
    except InvalidConfigError as error:
        if display.json_output:
            display.print_json(unchecked_json(input_name(source), error))
            error.in_result = True
        reporter.warn(*error.warnings)
        raise
    reporter.warn(*checked.warnings)
    display.summary(checked_text, checked_json, checked)
