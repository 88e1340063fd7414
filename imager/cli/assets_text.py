"""Format the results of boot asset commands as text and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from imager.app.assets import PulledAssets
from imager.bootassets.debian import DebianPackage
from imager.bootassets.describe import FoundAsset, Inventory
from imager.cli.tables import blob_json, json_object
from imager.distro.clean import Removal
from imager.distro.fetch import FetchedAssets
from imager.support.units import format_size
from imager.talos.version import DEFAULT_VERSION


def fetched_text(fetched: FetchedAssets) -> Iterator[str]:
    """Format the fetched packages and the folder of the boot assets."""
    for package in fetched.packages:
        yield f"{package.name} {package.version}"
    yield str(fetched.folder)


def fetched_json(fetched: FetchedAssets) -> dict[str, Any]:
    """Return the JSON object of `fetched_text`."""
    return {"folder": str(fetched.folder), "packages": _packages(fetched.packages)}


def pulled_text(pulled: PulledAssets) -> list[str]:
    """Format the folder of the pulled boot assets."""
    return [str(pulled.folder)]


def pulled_json(pulled: PulledAssets) -> dict[str, Any]:
    """Return the folder of the pulled boot assets and its files for JSON; sizes in bytes."""
    return {
        "folder": str(pulled.folder),
        "files": [
            {"path": str(each.path), **blob_json(each.layer.digest, each.layer.size)}
            for each in pulled.files
        ],
    }


def inventory_text(inventory: Inventory) -> Iterator[str]:
    """Format the searched folders and the boot assets in use."""
    for place in inventory.places:
        yield f"{place.path}: {place.state}"
    for asset in inventory.assets:
        yield f"  {asset.name:<18} {_asset_text(asset)}"
    version = inventory.talos_version or f"unknown; {DEFAULT_VERSION} is assumed"
    yield f"  {'talos version':<18} {version}"
    for package in inventory.packages:
        yield f"  from {package.name} {package.version}"


def _asset_text(asset: FoundAsset) -> str:
    if asset.problem or asset.size is None:
        return asset.problem
    version = "unknown version" if asset.version is None else asset.version or "-"
    return f"{format_size(asset.size):>10}  {version}  {asset.path}"


def inventory_json(inventory: Inventory) -> dict[str, Any]:
    """Return the JSON object of `inventory_text`; sizes in bytes."""
    return {
        "arch": inventory.arch.name,
        "places": [*map(json_object, inventory.places)],
        "assets": [*map(json_object, inventory.assets)],
        "talosVersion": inventory.talos_version,
        "packages": _packages(inventory.packages),
    }


def removals_text(removals: Sequence[Removal], *, dry_run: bool) -> Iterator[str]:
    """Format the removals, done or planned, and the space that they free."""
    for each in removals:
        yield f"- {each.path} ({format_size(each.size)})"
    total = sum(each.size for each in removals)
    yield f"{'would free' if dry_run else 'freed'} {format_size(total)}"


def removals_json(removals: Sequence[Removal], *, dry_run: bool) -> dict[str, Any]:
    """Return the JSON object of `removals_text`; sizes in bytes."""
    return {
        "removed": not dry_run,
        "paths": [*map(json_object, removals)],
        "size": sum(each.size for each in removals),
    }


def _packages(packages: Sequence[DebianPackage]) -> list[dict[str, Any]]:
    return [json_object(package, without="size") for package in packages]
