"""`imager images`: list images and create image caches."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from imager.cli import cachechanges, caches
from imager.cli.certgen import cache_cert_gen
from imager.cli.commands import App
from imager.cli.declare import argument, flag, option
from imager.cli.help import CACHES, INPUTS, LISTS, OUTPUT
from imager.cli.image_options import ImageOptions
from imager.cli.lock import Locked, images_lock
from imager.cli.options import (
    Jobs,
    LayerCacheFolder,
    Registries,
    Results,
    TalosVersion,
    parse_version,
)
from imager.cli.push import cache_push
from imager.cli.serve import cache_serve

app = App()

LayoutName = Literal["oci", "flat"]
CompressionName = Literal["none", "gzip", "zstd"]


def _version(name: str) -> Any:
    return option("VERSION", f"Version of {name} to use instead, such as v1.2.3.")


@dataclass(frozen=True, slots=True)
class Versions:
    """The options that override the component versions of a release."""

    k8s_version: Annotated[str | None, _version("Kubernetes")] = None
    etcd_version: Annotated[str | None, _version("etcd")] = None
    flannel_version: Annotated[str | None, _version("flannel")] = None
    coredns_version: Annotated[str | None, _version("CoreDNS")] = None
    kube_network_policies_version: Annotated[str | None, _version("kube-network-policies")] = None

    def given(self) -> dict[str, str]:
        """Return the given versions by component."""
        return {
            name.removesuffix("_version").replace("_", "-"): text
            for name, text in asdict(self).items()
            if text is not None
        }


@app.command("k8s-bundle", help="The same as `default`.", rich_help_panel=LISTS)
@app.command("default", rich_help_panel=LISTS)
def default(talos_version: TalosVersion = None, *, versions: Versions, display: Results) -> None:
    """Print the images that a Talos release needs, one per line."""
    from imager.app.images import default_images

    # A release that is newer than the known rules is not in the table of releases either.
    version = parse_version(talos_version)
    _print(default_images(version, versions.given(), display.reporter()), display)


@app.command("talos-bundle", rich_help_panel=LISTS)
def talos_bundle(
    version: Annotated[
        str | None,
        argument("VERSION", "Talos release, from v1.11.", show_default="the newest known"),
    ] = None,
    *,
    extensions: Annotated[
        bool, flag("--extensions/--no-extensions", "List the system extensions too.")
    ] = True,
    overlays: Annotated[bool, flag("--overlays/--no-overlays", "List the overlays too.")] = True,
    registries: Registries,
    display: Results,
) -> None:
    """Print the images that a Talos release is built from, with its extensions and overlays.

    The lists of extensions and overlays are fetched from ghcr.io.
    """
    from imager.app.images import bundle_images
    from imager.talos.default_images import newest_release

    release = parse_version(version or newest_release(), display.reporter(), name="VERSION")
    settings = registries.settings()
    _print(bundle_images(release, settings, extensions=extensions, overlays=overlays), display)


def _print(images: tuple[str, ...], display: Results) -> None:
    display.answer(list, lambda images: {"images": list(images)}, images)


@app.command("list", rich_help_panel=LISTS)
def list_(
    sources: Annotated[
        list[str],
        option(
            "FILE|FOLDER|-",
            "Kubernetes manifests, Talos machine configurations or lists of images: "
            "a file, a folder, or - for standard input.",
            "--from",
        ),
    ],
    *,
    strict: Annotated[bool, flag("--strict", "Treat warnings as errors (exit code 2).")] = False,
    display: Results,
) -> None:
    """Print the images that Kubernetes manifests and machine configurations name."""
    from imager.cli.listing_text import listing_json, listing_text, report
    from imager.discover.listing import find_images

    listing = find_images(sources)
    report(listing, display.reporter(), strict=strict)
    listing.check(strict=strict)
    if listing.images or display.json_output:
        display.answer(listing_text, listing_json, listing)


@dataclass(frozen=True, slots=True)
class Inputs(ImageOptions):
    """The options for the contents of a cache."""

    PANEL: ClassVar[str] = INPUTS

    layer_cache: LayerCacheFolder = None


@dataclass(frozen=True, slots=True)
class Output:
    """The options for the cache to create."""

    PANEL: ClassVar[str] = OUTPUT

    image_cache_path: Annotated[
        Path,
        option("FOLDER|FILE.TAR", "Folder to create, or a tar of it: .tar, .tar.gz or .tar.zst."),
    ]
    force: Annotated[bool, flag("--force", "Replace an existing cache.")] = False
    layout: Annotated[
        LayoutName,
        option(None, "Format of the cache: an OCI layout with one layer, or a flat tree."),
    ] = "oci"
    layer_compression: Annotated[
        CompressionName,
        option(None, "Compression of the layer; the blobs in it are compressed already."),
    ] = "none"
    jobs: Jobs = 4
    dry_run: Annotated[
        bool, flag("--dry-run", "Print what would be fetched, and write nothing.")
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
    *, inputs: Inputs, locked: Locked, output: Output, registries: Registries, display: Results
) -> None:
    """Create an image cache. Pass it to the profiles with --image-cache."""
    from imager.app.create_cache import NewCache, plan_cache
    from imager.cache.plan import CacheLayout, LayerCompression
    from imager.cache.staging import check_space
    from imager.cache.write import write_cache
    from imager.cli import creation_text

    reporter = display.reporter()
    new = NewCache(
        inputs.to_cache(registries, output.jobs),
        output.image_cache_path,
        CacheLayout(output.layout),
        LayerCompression(output.layer_compression),
        inputs.layer_cache,
        output.force,
        locked.locked,
    )
    plan = plan_cache(new, reporter)
    if output.dry_run:
        display.answer(creation_text.plan_text, creation_text.plan_json, plan)
        check_space(plan)
        return
    created = write_cache(plan, reporter=reporter)
    display.summary(creation_text.created_text, creation_text.created_json, plan, created)


for _command in (
    cache_push,
    cache_serve,
    cache_cert_gen,
    caches.cache_info,
    caches.cache_verify,
    caches.cache_diff,
    cachechanges.cache_add,
    cachechanges.cache_prune,
):
    app.command(_command.__name__.replace("_", "-"), rich_help_panel=CACHES)(_command)
app.command("lock", rich_help_panel=LISTS)(images_lock)
