"""`imager images cache-push`: an image cache into a registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imager.cli.options import Jobs, PushRegistries, Results

if TYPE_CHECKING:
    from imager.oci.push import Pushed


def cache_push(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="Image cache: a layout, flat tree, uncompressed tar, ISO or disk image.",
        ),
    ],
    reference: Annotated[
        str, typer.Argument(metavar="REF", help="Target: registry/repository:tag.")
    ],
    *,
    jobs: Jobs = 4,
    chunk_size: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            help="Size of an upload request: a broken upload resumes at the last one. "
            "0 sends each blob in one request.",
        ),
    ] = "64MiB",
    mount_from: Annotated[
        str | None,
        typer.Option(
            metavar="REPOSITORY",
            help="Mount blobs that this repository of the registry already has.",
        ),
    ] = None,
    registries: PushRegistries,
    display: Results,
) -> None:
    """Push an image cache to a registry, and print its reference with the digest."""
    from imager.cache.publish import plan_cache
    from imager.oci.push import PushOptions, mount_repository, push
    from imager.oci.reference import Reference
    from imager.oci.registry import RegistryClient
    from imager.support.units import parse_size

    target = Reference.parse_strict(reference)
    options = PushOptions(
        chunk_size=parse_size(chunk_size),
        jobs=jobs,
        mount_from=None if mount_from is None else mount_repository(mount_from, target),
    )
    reporter = display.reporter()
    settings = registries.settings()
    client = RegistryClient.from_settings(settings)
    plan = plan_cache(path, reporter=reporter)
    pushed = push(plan, target, client=client, options=options, reporter=reporter)
    # The reference is what was asked for: it pins what was pushed.
    display.answer(lambda: str(pushed.reference), lambda: pushed_json(pushed))
    if not display.json_output and not display.quiet:
        typer.echo(f"  {pushed.summary()}")


def pushed_json(pushed: Pushed) -> str:
    """Return what was pushed as one JSON object; sizes in bytes."""
    value = {
        "reference": str(pushed.reference),
        "digest": str(pushed.reference.digest),
        "blobs": [
            {"digest": str(blob.digest), "size": blob.size, "outcome": outcome.value}
            for blob, outcome in pushed.blobs
        ],
    }
    return json.dumps(value, indent=2)
