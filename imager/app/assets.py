"""Fetch, push, pull and remove boot assets."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from imager.app.assets_of_image import unpack_assets
from imager.app.boot_assets import placed_assets
from imager.app.container_images import Pulling
from imager.bootassets.artifact import plan_artifact, pulled_files
from imager.bootassets.describe import Inventory, take_inventory
from imager.bootassets.find import fetch_folder, find_assets, image_folder, package_folder
from imager.bootassets.sources import RECORD
from imager.cache.pull import PullOptions
from imager.distro import fetch
from imager.distro.clean import Removal, clean, plan_cleaning
from imager.distro.flavors import find_flavor
from imager.distro.packages import FetchContext
from imager.oci.artifact import PulledFile
from imager.oci.push import Pushed, PushOptions, push
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.oci.settings import RegistrySettings
from imager.support.arch import find_arch
from imager.support.partials import scratch_folder
from imager.support.reporter import QUIET, Reporter
from imager.support.repro import source_date_epoch


@dataclass(frozen=True, slots=True)
class FetchAssets:
    """Options for fetching Debian's boot assets into `folder` (default: where builds find them).

    With `locked`, fetch exactly the packages recorded in the folder's sources.json.
    """

    arch: str = "amd64"
    folder: Path | None = None
    flavor: str = "witness"
    locked: bool = False
    mirror: str | None = None


def fetch_assets(wanted: FetchAssets, reporter: Reporter = QUIET) -> fetch.FetchedAssets:
    """Make a set of boot assets from Debian's packages; raises as `imager.distro.fetch`."""
    arch, flavor = find_arch(wanted.arch), find_flavor(wanted.flavor)
    target = (wanted.folder or fetch_folder()) / flavor.folder
    lock = target / arch.name / RECORD if wanted.locked else None
    with scratch_folder() as scratch:
        return fetch.fetch_assets(
            fetch.SetRequest(arch, flavor, lock),
            folder=target,
            context=FetchContext(
                package_folder(), scratch, mirror=wanted.mirror, waiting=reporter.waiting
            ),
            epoch=source_date_epoch(),
        )


def list_assets(
    arch: str = "amd64",
    place: Path | Reference | None = None,
    registries: RegistrySettings | None = None,
    reporter: Reporter = QUIET,
) -> Inventory:
    """Return the boot assets in a folder or image, or in the usual folders; see `boot_assets`."""
    machine = find_arch(arch)
    with ExitStack() as stack:
        pulling = Pulling(registries, reporter=reporter)
        found = place and placed_assets(machine, place, pulling, stack)
        return take_inventory(machine, given=found.place if found else None)


@dataclass(frozen=True, slots=True)
class AssetsInRegistry:
    """Boot assets with their registry `reference`, and the local `folder` to pull them to."""

    reference: str
    arch: str = "amd64"
    folder: Path | None = None
    registries: RegistrySettings = field(default_factory=RegistrySettings)


@dataclass(frozen=True, slots=True)
class PushAssets:
    """Boot assets to push as `reference`.

    `place` is a folder, or an image that has them: a layout, an archive or a reference. None stands
    for the usual folders.
    """

    reference: str
    arch: str = "amd64"
    place: Path | Reference | None = None
    registries: RegistrySettings = field(default_factory=RegistrySettings)


def push_assets(assets: PushAssets, reporter: Reporter = QUIET) -> Pushed:
    """Push boot assets as an OCI artifact.

    Raises InputError for an invalid reference, `placed_assets` and missing boot assets,
    DependencyError if the registry fails.
    """
    target, arch = Reference.parse_strict(assets.reference), find_arch(assets.arch)
    with ExitStack() as stack:
        pulling, place = Pulling(assets.registries, reporter=reporter), assets.place
        found = placed_assets(arch, place, pulling, stack) if place else find_assets(arch)
        client = RegistryClient.from_settings(assets.registries)
        plan = plan_artifact(found)
        return push(plan, target, client=client, options=PushOptions(), reporter=reporter)


@dataclass(frozen=True, slots=True)
class PulledAssets:
    """The folder of the pulled boot assets, and its files."""

    folder: Path
    files: Sequence[PulledFile]


def pull_assets(assets: AssetsInRegistry, reporter: Reporter = QUIET) -> PulledAssets:
    """Pull boot assets into the architecture's folder in `assets.folder`, replacing a fetched set.

    They are those that were pushed, or those in an image of Talos's imager or installer. Raises
    InputError if there are none or the folder has other files, DependencyError if the registry
    fails.
    """
    arch = find_arch(assets.arch)
    target = (assets.folder or fetch_folder()) / arch.name
    fetch.check_replaceable(target)
    source = Reference.parse_strict(assets.reference)
    image = RegistryClient.from_settings(assets.registries).image(source)
    with PullOptions(assets.registries).puller(reporter) as puller:
        unpack_assets(image, str(source), arch, target, puller)
    return PulledAssets(target, tuple(pulled_files(target)))


def clean_assets(
    folder: Path | None = None, *, stale: bool = False, dry_run: bool = False
) -> tuple[Removal, ...]:
    """Remove fetched boot assets, those of images, and downloads; with `stale` unused downloads.

    Returns the removals; with `dry_run` they are not carried out. Raises HostError if a file cannot
    be removed.
    """
    removals = plan_cleaning(
        folder or fetch_folder(), package_folder(), image_folder(), stale=stale
    )
    if not dry_run:
        clean(removals)
    return removals
