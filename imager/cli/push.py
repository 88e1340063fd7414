"""`imager images cache-push`: an image cache into a registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imager.cli.options import (
    Jobs,
    Progress,
    PushRegistries,
    flattened,
)
from imager.reporter import ProgressStyle, make_reporter


@flattened
def cache_push(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="Image cache: a layout, flat tree, uncompressed tar, or an ISO or disk.",
        ),
    ],
    reference: Annotated[
        str, typer.Argument(metavar="REF", help="Where to: registry/repository:tag.")
    ],
    *,
    registries: PushRegistries,
    jobs: Jobs = 4,
    chunk_size: Annotated[
        str,
        typer.Option(
            help="Size of a request; a broken upload goes on at the last one. "
            "0: each blob in one request."
        ),
    ] = "64MiB",
    mount_from: Annotated[
        str | None,
        typer.Option(
            metavar="REPOSITORY",
            help="Take what is there from another repository of the registry.",
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but the reference.")
    ] = False,
    progress: Progress = ProgressStyle.AUTO,
) -> None:
    """Push an image cache to a registry. Prints its reference with the digest."""
    from imager.imagecache.publish import plan_cache
    from imager.oci.push import PushOptions, mount_repository, push
    from imager.oci.reference import Reference
    from imager.oci.registry import RegistryClient
    from imager.units import parse_size

    target = Reference.parse_strict(reference)
    options = PushOptions(
        chunk_size=parse_size(chunk_size),
        jobs=jobs,
        mount_from=None if mount_from is None else mount_repository(mount_from, target),
    )
    reporter = make_reporter(ProgressStyle.NONE if quiet else progress)
    settings = registries.settings()
    client = RegistryClient.from_settings(settings)
    plan = plan_cache(path, reporter=reporter)
    pushed = push(plan, target, client=client, options=options, reporter=reporter)
    typer.echo(pushed.reference)
    if not quiet:
        typer.echo(f"  {pushed.summary()}")
