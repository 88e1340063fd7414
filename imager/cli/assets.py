"""`imager assets`: fetch, list and remove boot assets; push them to a registry and pull them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from imager.cli.commands import App
from imager.cli.options import ArchName, PushRegistries, Registries, Results

app = App()

_SEARCHED = "$IMAGER_ASSETS, /usr/install, the user's cache"

_ARCH = Annotated[ArchName, typer.Option(help="Architecture of the machine.")]
_REFERENCE = Annotated[
    str, typer.Argument(metavar="REF", help="Where in a registry: registry/repository:tag.")
]
_FOLDER = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        show_default="$IMAGER_ASSETS, else the user's cache",
        help="Folder to put the folder of the architecture into.",
    ),
]


@app.command()
def fetch(
    arch: _ARCH = "amd64",
    *,
    folder: _FOLDER = None,
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
    from imager.bootassets.find import fetch_folder, package_folder
    from imager.bootassets.sources import RECORD
    from imager.cli.assets_text import fetched_json, fetched_text
    from imager.distro.fetch import SetRequest, fetch_assets
    from imager.distro.flavors import find_flavor
    from imager.distro.packages import FetchContext
    from imager.support.arch import find_arch
    from imager.support.partials import scratch_folder
    from imager.support.repro import source_date_epoch

    record = find_arch(arch)
    kind = find_flavor(flavor)
    target = (folder or fetch_folder()) / kind.folder
    reporter = display.reporter()
    with scratch_folder() as scratch:
        context = FetchContext(package_folder(), scratch, mirror=mirror, waiting=reporter.waiting)
        fetched = fetch_assets(
            SetRequest(record, kind, target / arch / RECORD if locked else None),
            folder=target,
            context=context,
            epoch=source_date_epoch(),
        )
    display.summary(lambda: fetched_text(fetched), lambda: fetched_json(fetched))


@app.command("list")
def list_assets(
    arch: _ARCH = "amd64",
    assets: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", show_default=_SEARCHED, help="Folder to search for boot assets."
        ),
    ] = None,
    *,
    display: Results,
) -> None:
    """Show which boot assets are found where, in the order in which they are searched."""
    from imager.bootassets.describe import take_inventory
    from imager.cli.assets_text import inventory_json, inventory_text
    from imager.support.arch import find_arch

    found = take_inventory(find_arch(arch), given=assets)
    display.answer(lambda: inventory_text(found), lambda: inventory_json(found))


@app.command()
def push(
    reference: _REFERENCE,
    arch: _ARCH = "amd64",
    *,
    assets: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", show_default=_SEARCHED, help="Folder of the boot assets to push."
        ),
    ] = None,
    registries: PushRegistries,
    display: Results,
) -> None:
    """Push boot assets to a registry, as an OCI artifact. Prints its reference with the digest."""
    from imager.bootassets.artifact import plan_artifact
    from imager.bootassets.find import find_assets
    from imager.cli.push import pushed_json
    from imager.oci.push import PushOptions
    from imager.oci.push import push as push_plan
    from imager.oci.reference import Reference
    from imager.oci.registry import RegistryClient
    from imager.support.arch import find_arch

    target = Reference.parse_strict(reference)
    plan = plan_artifact(find_assets(find_arch(arch), given=assets))
    client = RegistryClient.from_settings(registries.settings())
    pushed = push_plan(
        plan, target, client=client, options=PushOptions(), reporter=display.reporter()
    )
    display.answer(lambda: str(pushed.reference), lambda: pushed_json(pushed))


@app.command()
def pull(
    reference: _REFERENCE,
    arch: _ARCH = "amd64",
    *,
    folder: _FOLDER = None,
    registries: Registries,
    display: Results,
) -> None:
    """Pull boot assets that `imager assets push` has pushed. Prints their folder."""
    from imager.bootassets.artifact import artifact_files, pull_artifact
    from imager.bootassets.find import fetch_folder
    from imager.cli.assets_text import pulled_json
    from imager.distro.fetch import check_replaceable
    from imager.oci.reference import Reference
    from imager.oci.registry import RegistryClient
    from imager.support.arch import find_arch

    record = find_arch(arch)
    target = (folder or fetch_folder()) / record.name
    check_replaceable(target)
    source = Reference.parse_strict(reference)
    image = RegistryClient.from_settings(registries.settings()).image(source)
    files = artifact_files(image.root(), record, where=str(source))
    pull_artifact(image, files, target, reporter=display.reporter())
    display.answer(lambda: str(target), lambda: pulled_json(target, files))


@app.command("clean")
def clean_assets(
    *,
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            show_default="$IMAGER_ASSETS, else the user's cache",
            help="Folder that was filled by fetch.",
        ),
    ] = None,
    stale: Annotated[
        bool,
        typer.Option(
            "--stale", help="Keep the boot assets, and the downloads that they were made of."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be removed, and remove nothing.")
    ] = False,
    display: Results,
) -> None:
    """Remove the boot assets that fetch has made, and what it has downloaded.

    Boot assets from elsewhere, such as those of Talos, are kept.
    """
    from imager.bootassets.find import fetch_folder, package_folder
    from imager.cli.assets_text import removals_json, removals_text
    from imager.distro.clean import clean, plan_cleaning

    removals = plan_cleaning(folder or fetch_folder(), package_folder(), stale=stale)
    if not dry_run:
        clean(removals)
    show = display.answer if dry_run else display.summary
    show(
        lambda: removals_text(removals, dry_run=dry_run),
        lambda: removals_json(removals, dry_run=dry_run),
    )
