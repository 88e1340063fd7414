"""`imager assets fetch` and `imager assets list`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imager.reporter import ProgressStyle, make_reporter

app = typer.Typer(no_args_is_help=True)

_ARCH = Annotated[str, typer.Option(help="amd64 or arm64.")]


@app.command()
def fetch(
    arch: _ARCH = "amd64",
    *,
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder for <arch>/; default: $IMAGER_ASSETS, else the user's cache."),
    ] = None,
    flavor: Annotated[
        str,
        typer.Option(
            help="What boots: `witness` checks the image cache and says so, `node` serves it to "
            "containerd; it is put into FOLDER/node."
        ),
    ] = "witness",
    locked: Annotated[
        bool,
        typer.Option("--locked", help="Fetch exactly what <arch>/sources.json in FOLDER records."),
    ] = False,
    mirror: Annotated[
        str | None,
        typer.Option(
            envvar="IMAGER_DEBIAN_MIRROR", help="Debian mirror; default: that of this machine."
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the folder alone.")] = False,
) -> None:
    """Get the default boot assets: Debian's kernel and bootloaders, and a small initramfs.

    Nothing is installed, and root is not needed.
    """
    from imager.arch import find_arch
    from imager.bootassets.fetch import Wanted, fetch_assets
    from imager.bootassets.flavors import find_flavor
    from imager.bootassets.locate import fetch_folder, package_folder
    from imager.bootassets.packages import Workshop
    from imager.bootassets.sources import RECORD
    from imager.repro import source_date_epoch
    from imager.workspace import scratch_folder

    record = find_arch(arch)
    kind = find_flavor(flavor)
    target = (folder or fetch_folder()) / kind.folder
    reporter = make_reporter(ProgressStyle.NONE if quiet else ProgressStyle.PLAIN)
    with scratch_folder() as scratch:
        workshop = Workshop(package_folder(), scratch, mirror=mirror, report=reporter.step)
        fetched = fetch_assets(
            Wanted(record, kind, target / arch / RECORD if locked else None),
            folder=target,
            workshop=workshop,
            epoch=source_date_epoch(),
        )
    for package in () if quiet else fetched.packages:
        typer.echo(f"{package.name} {package.version}")
    typer.echo(fetched.folder)


@app.command("list")
def list_assets(
    arch: _ARCH = "amd64",
    assets: Annotated[Path | None, typer.Option(help="Folder to look in, and in no other.")] = None,
) -> None:
    """Show which boot assets are found where, in the order in which they are looked for."""
    from imager.arch import find_arch
    from imager.bootassets.inventory import describe

    for line in describe(find_arch(arch), given=assets):
        typer.echo(line)
