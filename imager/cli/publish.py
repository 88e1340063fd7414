"""`imager publish` and `imager fetch`: outputs as OCI artifacts in a registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imager.cli.declare import argument, flag, option
from imager.cli.options import (
    DEFAULT_OUTPUT,
    ChunkSize,
    Jobs,
    PushRegistries,
    Registries,
    Results,
    default_output,
)

_BESIDE = (
    "the bmap, SBOM, provenance, checksums and signatures that are named after an output, as in "
    "NAME.spdx.json"
)


def publish(
    outputs: Annotated[
        list[Path], argument("OUTPUT...", "Files that a build has written, such as an ISO.")
    ],
    reference: Annotated[str, argument("REF", "Target: registry/repository:tag.")],
    *,
    platform: Annotated[
        str | None,
        option(
            "OS/ARCH",
            "Publish for this platform: REF becomes an index, and what it has for other platforms "
            "is kept.",
        ),
    ] = None,
    beside: Annotated[bool, flag("--beside/--no-beside", f"Also attach {_BESIDE}.")] = True,
    jobs: Jobs = 4,
    chunk_size: ChunkSize = "64MiB",
    registries: PushRegistries,
    display: Results,
) -> None:
    """Publish outputs in a registry as an OCI artifact. Prints its reference with the digest.

    `imager fetch`, `oras pull` and other tools for OCI artifacts read it.
    """
    from imager.app.publish import PublishOutputs, publish_outputs
    from imager.cli.publish_text import published_json, published_text, summary_text
    from imager.oci.platform import Platform
    from imager.oci.push import PushOptions
    from imager.support.units import parse_size

    wanted = PublishOutputs(
        outputs,
        reference,
        Platform.parse(platform) if platform else None,
        beside,
        PushOptions(parse_size(chunk_size), jobs),
        registries.settings(),
    )
    published = publish_outputs(wanted, display.reporter())
    display.answer(published_text, published_json, published)
    if not display.json_output and not display.quiet:
        for line in summary_text(published):
            typer.echo(f"  {line}")


def fetch(
    reference: Annotated[str, argument("REF", "Artifact: registry/repository:tag or @digest.")],
    *,
    output: Annotated[
        Path | None,
        option(
            "FOLDER",
            "Folder for the files; created if missing.",
            "--output",
            "-o",
            default=DEFAULT_OUTPUT,
        ),
    ] = None,
    platform: Annotated[
        str | None, option("OS/ARCH", "Platform to fetch if there are several.")
    ] = None,
    beside: Annotated[bool, flag("--beside/--no-beside", f"Also fetch {_BESIDE}.")] = True,
    force: Annotated[
        bool, flag("--force", "Replace existing files that have other bytes.")
    ] = False,
    jobs: Jobs = 4,
    registries: Registries,
    display: Results,
) -> None:
    """Fetch published outputs from a registry, and print the files.

    Every file is checked by its digest. An interrupted fetch resumes when the command is run again.
    REF may also be what `oras push` has made. Boot assets are fetched by `imager assets pull`.
    """
    from imager.app.fetch import FetchOutputs, fetch_outputs
    from imager.cli.publish_text import fetched_json, fetched_text
    from imager.oci.platform import Platform

    wanted = FetchOutputs(
        reference,
        output or default_output(),
        Platform.parse(platform) if platform else None,
        beside,
        force,
        jobs,
        registries.settings(),
    )
    display.answer(fetched_text, fetched_json, fetch_outputs(wanted, display.reporter()))
