"""`imager assets`: fetch, list and remove boot assets; push them to a registry and pull them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from imager.cli.commands import App
from imager.cli.declare import argument, flag, option
from imager.cli.options import ArchName, Registries, Results

app = App()

_SEARCHED = "$IMAGER_ASSETS, /usr/install, the user's cache"
_FETCHED = "$IMAGER_ASSETS, else the user's cache"


def _assets(text: str) -> Any:
    return option("FOLDER|PATH|REF", text, default=_SEARCHED)


_Arch = Annotated[ArchName, option(None, "Architecture of the machine.")]
_Reference = Annotated[str, argument("REF", "Registry reference: registry/repository:tag.")]
_Folder = Annotated[
    Path | None,
    option(
        "FOLDER",
        "Folder for the boot assets, in a subfolder named after the architecture.",
        "--folder",
        default=_FETCHED,
    ),
]


@app.command()
def fetch(
    arch: _Arch = "amd64",
    *,
    folder: _Folder = None,
    flavor: Annotated[
        Literal["witness", "node"],
        option(
            None,
            "Initramfs to build: witness checks the image cache and reports on the console; node "
            "serves the cache to containerd, and is written to FOLDER/node.",
        ),
    ] = "witness",
    locked: Annotated[
        bool, flag("--locked", "Fetch exactly what sources.json in that folder records.")
    ] = False,
    mirror: Annotated[
        str | None,
        option(
            "URL",
            "Debian mirror.",
            default="the machine's own",
            envvar="IMAGER_DEBIAN_MIRROR",
            show_envvar=True,
        ),
    ] = None,
    display: Results,
) -> None:
    """Fetch the default boot assets: Debian's kernel and bootloaders, and a small initramfs.

    Installs nothing and does not need root.
    """
    from imager.app.assets import FetchAssets, fetch_assets
    from imager.cli.assets_text import fetched_json, fetched_text

    wanted = FetchAssets(arch, folder, flavor, locked, mirror)
    display.summary(fetched_text, fetched_json, fetch_assets(wanted, display.reporter()))


@app.command("list")
def list_assets(
    arch: _Arch = "amd64",
    assets: Annotated[
        str | None, _assets("Folder to search for boot assets, or an image that has them.")
    ] = None,
    *,
    registries: Registries,
    display: Results,
) -> None:
    """List the boot assets in use, and the folders searched for them, in search order."""
    from imager.app import assets as use_cases
    from imager.cli.assets_text import inventory_json, inventory_text
    from imager.oci.location import parse_place

    place = parse_place(assets) if assets else None
    inventory = use_cases.list_assets(arch, place, registries.settings(), display.reporter())
    display.answer(inventory_text, inventory_json, inventory)


@app.command()
def push(
    reference: _Reference,
    arch: _Arch = "amd64",
    *,
    assets: Annotated[
        str | None, _assets("Folder of the boot assets to push, or an image that has them.")
    ] = None,
    registries: Registries,
    display: Results,
) -> None:
    """Push boot assets to a registry as an OCI artifact. Prints its reference with the digest."""
    from imager.app.assets import PushAssets, push_assets
    from imager.cli.push import pushed_json, pushed_text
    from imager.oci.location import parse_place

    place = parse_place(assets) if assets else None
    pushed = PushAssets(reference, arch, place, registries.settings())
    display.answer(pushed_text, pushed_json, push_assets(pushed, display.reporter()))


@app.command()
def pull(
    reference: _Reference,
    arch: _Arch = "amd64",
    *,
    folder: _Folder = None,
    registries: Registries,
    display: Results,
) -> None:
    """Pull boot assets, and print their folder.

    REF is what `imager assets push` has pushed, or an image of Talos's imager or installer, such as
    ghcr.io/siderolabs/imager:v1.9.0.
    """
    from imager.app.assets import AssetsInRegistry, pull_assets
    from imager.cli.assets_text import pulled_json, pulled_text

    wanted = AssetsInRegistry(reference, arch, folder, registries.settings())
    display.answer(pulled_text, pulled_json, pull_assets(wanted, display.reporter()))


@app.command("clean")
def clean_assets(
    *,
    folder: Annotated[
        Path | None,
        option("FOLDER", "Folder filled by `assets fetch`.", "--folder", default=_FETCHED),
    ] = None,
    stale: Annotated[
        bool, flag("--stale", "Keep the boot assets and the downloads that they were made from.")
    ] = False,
    dry_run: Annotated[
        bool, flag("--dry-run", "Print what would be removed, and remove nothing.")
    ] = False,
    display: Results,
) -> None:
    """Remove boot assets and downloads of `assets fetch`, and boot assets taken from images.

    Boot assets that you put somewhere yourself, such as those of Talos, are kept.
    """
    from imager.app import assets
    from imager.cli.assets_text import removals_json, removals_text

    removals = assets.clean_assets(folder, stale=stale, dry_run=dry_run)
    show = display.answer if dry_run else display.summary
    show(removals_text, removals_json, removals, dry_run=dry_run)
