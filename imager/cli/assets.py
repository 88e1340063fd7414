"""`imager assets fetch` and `imager assets list`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from imager.cli.commands import App
from imager.cli.options import ArchName, Results

app = App()

_ARCH = Annotated[ArchName, typer.Option(help="Architecture of the machine.")]


@app.command()
def fetch(
    arch: _ARCH = "amd64",
    *,
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            show_default="$IMAGER_ASSETS, else the user's cache",
            help="Folder to put the folder of the architecture into.",
        ),
    ] = None,
    flavor: Annotated[
        Literal["witness", "node"],
        typer.Option(
            help="What boots: witness checks the image cache and reports it on the console, node "
            "serves it to containerd and goes to FOLDER/node."
        ),
    ] = "witness",
    locked: Annotated[
        bool,
        typer.Option("--locked", help="Fetch exactly what sources.json in that folder records."),
    ] = False,
    mirror: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="IMAGER_DEBIAN_MIRROR",
            show_envvar=True,
            show_default="that of this machine",
            help="Debian mirror.",
        ),
    ] = None,
    display: Results,
) -> None:
    """Fetch the default boot assets: Debian's kernel and bootloaders, and a small initramfs.

    Nothing is installed, and root is not needed.
    """
    from imager.arch import find_arch
    from imager.bootassets.fetch import Wanted, fetch_assets
    from imager.bootassets.flavors import find_flavor
    from imager.bootassets.locate import fetch_folder, package_folder
    from imager.bootassets.packages import Workshop
    from imager.bootassets.sources import RECORD
    from imager.cli.assets_text import fetched_json, fetched_text
    from imager.repro import source_date_epoch
    from imager.workspace import scratch_folder

    record = find_arch(arch)
    kind = find_flavor(flavor)
    target = (folder or fetch_folder()) / kind.folder
    reporter = display.reporter()
    with scratch_folder() as scratch:
        workshop = Workshop(package_folder(), scratch, mirror=mirror, report=reporter.step)
        fetched = fetch_assets(
            Wanted(record, kind, target / arch / RECORD if locked else None),
            folder=target,
            workshop=workshop,
            epoch=source_date_epoch(),
        )
    display.summary(lambda: fetched_text(fetched), lambda: fetched_json(fetched))


@app.command("list")
def list_assets(
    arch: _ARCH = "amd64",
    assets: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Look only in this folder.")
    ] = None,
    *,
    display: Results,
) -> None:
    """Show which boot assets are found where, in the order in which they are searched."""
    from imager.arch import find_arch
    from imager.bootassets.inventory import take_inventory
    from imager.cli.assets_text import inventory_json, inventory_text

    found = take_inventory(find_arch(arch), given=assets)
    display.answer(lambda: inventory_text(found), lambda: inventory_json(found))
