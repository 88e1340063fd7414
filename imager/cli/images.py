"""`imager images`: lists of images, and image caches."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import typer

from imager.cli.commands import App
from imager.cli.help import CACHES, INPUTS, LISTS, OUTPUT
from imager.cli.options import (
    DEFAULT_PLATFORM,
    CosignSignatures,
    ImageLists,
    Jobs,
    LayerCacheFolder,
    MissingPlatforms,
    Registries,
    Results,
    TalosVersion,
    parse_version,
)

app = App()

LayoutName = Literal["oci", "flat"]
CompressionName = Literal["none", "gzip", "zstd"]


@dataclass(frozen=True, slots=True)
class Versions:
    """The options that set other versions than those of the release."""

    k8s_version: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="Other version of Kubernetes, such as v1.2.3."),
    ] = None
    etcd_version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Other version of etcd, such as v1.2.3.")
    ] = None
    flannel_version: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="Other version of flannel, such as v1.2.3."),
    ] = None
    coredns_version: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="Other version of CoreDNS, such as v1.2.3."),
    ] = None
    kube_network_policies_version: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION", help="Other version of kube-network-policies, such as v1.2.3."
        ),
    ] = None

    def given(self) -> dict[str, str]:
        """Return the versions by component, as far as they are given."""
        names = {each.name: each.name.removesuffix("_version") for each in fields(self)}
        values = {name: getattr(self, field) for field, name in names.items()}
        return {name.replace("_", "-"): text for name, text in values.items() if text is not None}


@app.command("k8s-bundle", rich_help_panel=LISTS)
@app.command("default", rich_help_panel=LISTS)
def default(talos_version: TalosVersion = None, *, versions: Versions, display: Results) -> None:
    """Print the images that a Talos release needs, one per line."""
    from imager.talos.bundles import with_versions
    from imager.talos.default_images import find_release

    release = find_release(parse_version(talos_version, display.reporter()).text)
    if release.note:
        display.reporter().warn(release.note)
    images = with_versions(release.references, versions.given())
    display.answer(lambda: "\n".join(images), lambda: json.dumps({"images": images}, indent=2))


@app.command("talos-bundle", rich_help_panel=LISTS)
def talos_bundle(
    version: Annotated[
        str | None,
        typer.Argument(
            metavar="VERSION", show_default="the newest known", help="Talos release, from v1.11."
        ),
    ] = None,
    *,
    extensions: Annotated[
        bool, typer.Option("--extensions/--no-extensions", help="List the system extensions too.")
    ] = True,
    overlays: Annotated[
        bool, typer.Option("--overlays/--no-overlays", help="List the overlays too.")
    ] = True,
    registries: Registries,
    display: Results,
) -> None:
    """Print the images that a Talos release is built of, with its extensions and overlays.

    The lists of the latter are fetched from ghcr.io.
    """
    from imager.oci.registry import RegistryClient
    from imager.talos.bundles import official_extensions, official_overlays, talos_images
    from imager.talos.default_images import newest_release

    release = parse_version(version or newest_release(), display.reporter(), name="VERSION")
    images = list(talos_images(release))
    client = RegistryClient.from_settings(registries.settings())
    listed = [
        *(official_extensions(release, client) if extensions else ()),
        *(official_overlays(release, client) if overlays else ()),
    ]
    images += sorted(set(listed))
    display.answer(lambda: "\n".join(images), lambda: json.dumps({"images": images}, indent=2))


@app.command("list", rich_help_panel=LISTS)
def list_(
    sources: Annotated[
        list[str],
        typer.Option(
            "--from",
            metavar="FILE|FOLDER|-",
            help="Kubernetes manifests, Talos machine configurations or lists of images: "
            "a file, a folder, or - for standard input.",
        ),
    ],
    *,
    strict: Annotated[
        bool, typer.Option("--strict", help="Treat warnings as errors (exit code 2).")
    ] = False,
    display: Results,
) -> None:
    """Print the images that Kubernetes manifests and machine configurations name."""
    from imager.cli.listing_text import listing_json, listing_text, report
    from imager.discover.listing import find_images

    listing = find_images(sources)
    report(listing, display.reporter(), strict=strict)
    listing.check(strict=strict)
    if listing.images or display.json_output:
        display.answer(lambda: listing_text(listing), lambda: listing_json(listing))


@dataclass(frozen=True, slots=True)
class Inputs:
    """The options on what a cache is made of."""

    PANEL: ClassVar[str] = INPUTS

    images: ImageLists
    platform: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OS/ARCH",
            show_default=DEFAULT_PLATFORM,
            help="Platforms to cache, separated by commas, or all.",
        ),
    ] = None
    missing_platform: MissingPlatforms = "fail"
    cosign_signatures: CosignSignatures = True
    layer_cache: LayerCacheFolder = None


@dataclass(frozen=True, slots=True)
class Output:
    """The options on the cache that is made."""

    PANEL: ClassVar[str] = OUTPUT

    image_cache_path: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER|FILE.TAR",
            help="Folder to make, or a tar of it: .tar, .tar.gz or .tar.zst.",
        ),
    ]
    force: Annotated[bool, typer.Option("--force", help="Replace an existing cache.")] = False
    layout: Annotated[
        LayoutName,
        typer.Option(help="How to pack it: an OCI layout with one layer, or the bare tree."),
    ] = "oci"
    layer_compression: Annotated[
        CompressionName,
        typer.Option(help="Compression of the layer; the blobs in it are compressed already."),
    ] = "none"
    jobs: Jobs = 4
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be fetched, and write nothing.")
    ] = False


@app.command(
    "cache-create",
    rich_help_panel=CACHES,
    epilog="""
        Examples:
          imager images default > images.txt
          imager images cache-create --images images.txt --image-cache-path cache.oci
          imager images cache-create --images images.txt --image-cache-path cache.oci --dry-run
    """,
)
def cache_create(
    *, inputs: Inputs, output: Output, registries: Registries, display: Results
) -> None:
    """Make an image cache. The profiles take it with --image-cache."""
    from imager.cache.archiving import ArchiveFormat
    from imager.cache.lists import read_entries
    from imager.cache.plan import CreateOptions, plan_creation
    from imager.cache.resolve import gather
    from imager.cache.selection import MissingPlatform, Selection
    from imager.cache.staging import check_space
    from imager.cache.write import check_creatable, write_cache
    from imager.cli.creation_text import CreationReport
    from imager.oci.registry import RegistryClient
    from imager.support.units import count

    archive = ArchiveFormat.named(output.image_cache_path)
    options = CreateOptions.parse(
        layout=output.layout,
        compression=output.layer_compression,
        jobs=output.jobs,
        layer_cache=inputs.layer_cache,
        archive=archive,
    )
    selection = Selection.parse(
        inputs.platform or [DEFAULT_PLATFORM],
        signatures=inputs.cosign_signatures,
        missing=MissingPlatform(inputs.missing_platform),
    )
    check_creatable(output.image_cache_path, force=output.force, archive=archive)
    reporter = display.reporter()
    settings = registries.settings()
    entries = read_entries(inputs.images)
    client = RegistryClient.from_settings(settings)
    with reporter.waiting(f"reading the manifests of {count(len(entries), 'image')}"):
        gathered = gather(
            entries,
            client=client,
            selection=selection,
            jobs=options.jobs,
            layer_cache=options.layer_cache,
        )
    for warning in gathered.warnings:
        reporter.warn(warning)
    plan = plan_creation(gathered, output.image_cache_path, options)
    report = CreationReport(plan, output.image_cache_path, gathered.images)
    if output.dry_run:
        display.answer(report.plan_text, report.plan_json)
        check_space(plan)
        return
    created = write_cache(plan, reporter=reporter)
    display.summary(lambda: report.created_text(created), lambda: report.created_json(created))
