"""A build, from a profile to a file: the readable sequence of its steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from imager.arch import Arch, find_arch
from imager.bootassets.locate import Asset, BootAssets, find_assets
from imager.errors import InputError
from imager.imagecache.cache import ImageCache
from imager.imagecache.open import open_cache, pull_cache
from imager.oci.reference import Reference
from imager.output.outputs import OUTPUTS
from imager.output.plan import OutputPlan, Target
from imager.output.write import WriteJob, Written, write_output
from imager.profile.model import OutFormat, Profile
from imager.profile.version import DEFAULT_VERSION, TalosVersion
from imager.reporter import Reporter
from imager.repro import source_date_epoch
from imager.units import MIB
from imager.workspace import check_free_space, check_output_folder, partial_folder, scratch_folder


@dataclass(frozen=True, slots=True)
class Options:
    """How to build, beside what to build; `assets` and `output` are folders."""

    output: Path
    assets: Path | None = None
    insecure: bool = False
    require_images: Sequence[Reference] = ()
    verify: bool = True
    checksum: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Planned:
    """An output that is planned, and what will be needed to write it; sizes in bytes."""

    plan: OutputPlan
    path: Path
    out_format: OutFormat
    version: TalosVersion
    assets: BootAssets
    cache: ImageCache | None
    space_needed: int


# File systems round up, and keep a little for themselves.
_METADATA_SLACK = MIB


@contextmanager
def planned_build(profile: Profile, options: Options, reporter: Reporter) -> Iterator[Planned]:
    """Plan the output of `profile`; the plan is valid inside the block.

    Nothing is written but metadata, and a cache that is pulled from a registry, both to
    temporary folders. Raises ImagerError for whatever is wrong with the profile's inputs.
    """
    if not options.dry_run:
        check_output_folder(options.output)
    arch = find_arch(profile.arch)
    assets = find_assets(arch, given=options.assets, files=_asset_files(profile))
    version = TalosVersion.parse(profile.version or assets.version or DEFAULT_VERSION)
    with ExitStack() as stack:
        cache = _open_cache(profile, arch, options, reporter, stack)
        target = Target(
            platform=profile.platform,
            arch=arch,
            version=version,
            assets=assets,
            cache=cache,
            meta={item.key: item.value for item in profile.customization.meta_contents},
            extra_kernel_args=profile.customization.extra_kernel_args,
            disk_size=profile.output.image_options.disk_size,
            timestamp=source_date_epoch(),
            scratch=stack.enter_context(scratch_folder()),
        )
        plan = OUTPUTS[profile.output.kind](target)
        out_format = profile.output.out_format
        suffix = out_format.value if out_format is not OutFormat.RAW else ""
        yield Planned(
            plan=plan,
            path=options.output / f"{plan.file_name}{suffix}",
            out_format=out_format,
            version=version,
            assets=assets,
            cache=cache,
            space_needed=plan.content.data_size + _METADATA_SLACK,
        )


def write_build(planned: Planned, options: Options, reporter: Reporter) -> Written:
    """Write what was planned; see `imager.output.write.write_output` for the errors."""
    check_free_space(options.output, planned.space_needed)
    checks = planned.cache.checks if planned.cache and options.verify else ()
    with reporter.transfer(
        f"writing {planned.path.name}", planned.plan.content.data_size
    ) as advance:
        job = WriteJob(
            content=planned.plan.content,
            path=planned.path,
            out_format=planned.out_format,
            checks=checks,
            checksum=options.checksum,
        )
        return write_output(job, progress=advance)


def _asset_files(profile: Profile) -> dict[Asset, Path]:
    given = {
        Asset.KERNEL: profile.input.kernel,
        Asset.INITRAMFS: profile.input.initramfs,
        Asset.SD_BOOT: profile.input.sd_boot,
        Asset.SD_STUB: profile.input.sd_stub,
    }
    return {asset: Path(file.path) for asset, file in given.items() if file is not None}


def _download_folder(options: Options) -> AbstractContextManager[Path]:
    """Return a folder on the output's disk, which must have room for a cache anyway."""
    if options.dry_run:
        return scratch_folder()
    return partial_folder(options.output.absolute() / "image-cache")


def _open_cache(
    profile: Profile, arch: Arch, options: Options, reporter: Reporter, stack: ExitStack
) -> ImageCache | None:
    asset = profile.input.image_cache
    if asset is None:
        if options.require_images:
            raise InputError(
                "--require-images needs an image cache", hint="give one with --image-cache"
            )
        return None
    if asset.image_ref:
        from imager.oci.registry import RegistryClient

        folder = stack.enter_context(_download_folder(options))
        cache = pull_cache(
            Reference.parse_strict(asset.image_ref),
            arch=arch,
            client=RegistryClient.default(insecure=asset.force_insecure),
            folder=folder,
            reporter=reporter,
        )
    else:
        path = Path(asset.oci_path or asset.tarball_path)
        reporter.step(f"opening image cache {path}")
        cache = open_cache(path, arch=arch)
    if cache.ignored:
        reporter.warn(f"{cache.source}: left out {cache.ignored} files that no image cache has")
    if foreign := cache.foreign(arch):
        names = ", ".join(map(str, foreign))
        reporter.warn(f"{cache.source}: not for {arch.name}, but for another platform: {names}")
    cache.require_images(options.require_images)
    return cache
