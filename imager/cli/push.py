"""`imager images cache-push`: push an image cache to a registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imager.cli.declare import argument, option
from imager.cli.options import ChunkSize, Jobs, PushRegistries, Results
from imager.cli.tables import blob_json

if TYPE_CHECKING:
    from imager.oci.push import Pushed


def cache_push(
    path: Annotated[
        Path,
        argument("PATH", "Image cache: a layout, flat tree, uncompressed tar, ISO or disk image."),
    ],
    reference: Annotated[str, argument("REF", "Target: registry/repository:tag.")],
    *,
    jobs: Jobs = 4,
    chunk_size: ChunkSize = "64MiB",
    mount_from: Annotated[
        str | None,
        option("REPOSITORY", "Mount blobs that this repository of the registry already has."),
    ] = None,
    registries: PushRegistries,
    display: Results,
) -> None:
    """Push an image cache to a registry, and print its reference with the digest."""
    from imager.app.push_cache import push_cache
    from imager.oci.push import PushOptions
    from imager.support.units import parse_size

    options = PushOptions(parse_size(chunk_size), jobs, mount_from)
    pushed = push_cache(path, reference, options, registries.settings(), display.reporter())
    # The reference with the digest is the requested result, so it is printed with --quiet too.
    display.answer(pushed_text, pushed_json, pushed)
    if not display.json_output and not display.quiet:
        typer.echo(f"  {pushed.summary()}")


def pushed_text(pushed: Pushed) -> list[str]:
    """Return the pushed reference with its digest."""
    return [str(pushed.reference)]


def pushed_json(pushed: Pushed) -> dict[str, Any]:
    """Return the result of a push for JSON; sizes in bytes."""
    return {
        "reference": str(pushed.reference),
        "digest": str(pushed.reference.digest),
        "blobs": [
            {**blob_json(blob.digest, blob.size), "outcome": outcome.value}
            for blob, outcome in pushed.blobs
        ],
    }
