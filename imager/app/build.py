"""Build a profile: the sequence of steps from profile to output file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from imager.app.boot_assets import AssetOptions, asset_notes, boot_assets, talos_version
from imager.app.secure_boot import enroll_keys, open_secure_boot
from imager.bootassets.find import BootAssets
from imager.bootassets.named import NamedAssets
from imager.cache.cache import ImageCache
from imager.cache.lists import read_image_list
from imager.cache.location import CacheLocation
from imager.cache.pull import Puller
from imager.efi.secureboot import DEFAULT_FOLDER
from imager.image.bootloader.boot import BuildContext
from imager.image.destination import Replaced, check_replaceable, output_path
from imager.image.outputs import OUTPUTS
from imager.image.plan import OutputPlan, Target
from imager.image.write import WriteJob, Written, write_output
from imager.oci.reference import Reference
from imager.oci.settings import RegistrySettings
from imager.profile.inputs import ContainerAsset
from imager.profile.leftout import left_out
from imager.profile.model import Profile
from imager.profile.output_name import output_name
from imager.support.arch import Arch, find_arch
from imager.support.errors import InputError
from imager.support.fields import setting
from imager.support.folders import check_free_space, created_folder
from imager.support.partials import partial_folder, scratch_folder
from imager.support.reporter import QUIET, Reporter
from imager.support.repro import source_date_epoch
from imager.support.units import MIB
from imager.talos.choices import OutFormat
from imager.talos.versions import require_image_cache


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """Options for building a profile; `layer_cache` is a folder.

    `output` is a folder or the file to write. An existing file is replaced if `clobber`. `assets`
    is a folder of boot assets, or a container image that has them: its reference, OCI layout or
    archive. The cache must contain the images in the lists `require_images`. `secureboot` is the
    folder of keys and certificates.
    """

    output: Path
    assets: Path | Reference | None = None
    registries: RegistrySettings = field(default_factory=RegistrySettings)
    layer_cache: Path | None = None
    require_images: Sequence[str] = ()
    verify: bool = True
    checksum: bool = False
    dry_run: bool = False
    clobber: bool = True
    secureboot: Path = DEFAULT_FOLDER


@dataclass(frozen=True, slots=True)
class Planned:
    """A planned output and the requirements for writing it; sizes in bytes.

    `replaced` is the existing file at `path`.
    """

    plan: OutputPlan
    path: Path
    out_format: OutFormat
    build: BuildContext
    cache: ImageCache | None
    space_needed: int
    replaced: Replaced | None

    def check_space(self) -> None:
        """Raise HostError if there is too little disk space for the output."""
        check_free_space(self.path.parent, self.space_needed)


# File systems round sizes up and need space for metadata.
_METADATA_SLACK = MIB
# How many bytes of a hole become one byte.
_HOLE_RATIOS = {OutFormat.GZ: 1000, OutFormat.XZ: 4000}


@contextmanager
def planned_build(
    profile: Profile, options: BuildOptions, reporter: Reporter = QUIET
) -> Iterator[Planned]:
    """Plan the output of `profile`; the plan is valid inside the block.

    Writes only metadata and what is pulled from a registry, to temporary folders unless there is a
    layer cache, and boot assets of an image to the user's cache. Raises ImagerError for any problem
    with the profile's inputs.
    """
    required = read_image_list(options.require_images) if options.require_images else ()
    path = output_path(options.output, output_name(profile))
    options = replace(options, output=path)
    replaced = check_replaceable(path, clobber=options.clobber)
    arch = find_arch(profile.arch)
    with ExitStack() as stack:
        named = NamedAssets.of(profile.input, arch)
        wanted = AssetOptions(options.assets, options.registries, options.layer_cache)
        assets = boot_assets(profile, named.files, wanted, reporter, stack)
        version = talos_version(profile, assets)
        for warning in version.warnings:
            reporter.warn(warning)
        if profile.input.image_cache is not None:
            require_image_cache(version)
        assets, added = _extended(profile, assets, options, reporter, stack)
        if not options.dry_run:
            stack.enter_context(created_folder(path.parent))
        cache = None
        if asset := _image_cache(profile, required):
            puller = _puller(asset, options, reporter, stack)
            cache = _open_cache(asset, puller, arch, required)
        context = BuildContext(
            arch=arch,
            version=version,
            assets=assets,
            timestamp=source_date_epoch(),
            scratch=stack.enter_context(scratch_folder()),
            platform=profile.platform,
            sector_size=profile.output.image_options.disk_sector_size,
            secure_boot=open_secure_boot(profile, options.secureboot, reporter),
            enroll_keys=enroll_keys(profile),
        )
        target = Target(
            build=context,
            cache=cache,
            meta={item.key: item.value for item in profile.customization.meta_contents},
            extra_kernel_args=profile.customization.extra_kernel_args,
            disk_size=profile.output.image_options.disk_size,
            bootloader=profile.output.bootloader,
        )
        plan = OUTPUTS[profile.output.kind](target)
        taken = asset_notes(profile, assets)
        notes = (*plan.notes, *named.notes, *taken, *added, *left_out(profile, version))
        yield Planned(
            plan=replace(plan, notes=notes),
            path=path,
            out_format=profile.output.out_format,
            build=context,
            cache=cache,
            space_needed=_space_needed(plan, profile.output.out_format),
            replaced=replaced,
        )


def write_build(planned: Planned, options: BuildOptions, reporter: Reporter = QUIET) -> Written:
    """Write a planned output; see `imager.image.write.write_output` for the errors."""
    planned.check_space()
    checks = planned.cache.checks if planned.cache and options.verify else ()
    job = WriteJob(
        content=planned.plan.content,
        path=planned.path,
        out_format=planned.out_format,
        checks=checks,
        checksum=options.checksum,
        clobber=options.clobber,
        timestamp=planned.build.timestamp,
    )
    with reporter.transfer(f"writing {planned.path.name}", job.stored.data_size) as advance:
        return write_output(job, progress=advance)


def build(profile: Profile, options: BuildOptions, reporter: Reporter = QUIET) -> Written:
    """Build a profile; raises as `planned_build` and `write_build`."""
    with planned_build(profile, options, reporter) as planned:
        return write_build(planned, options, reporter)


def _space_needed(plan: OutputPlan, out_format: OutFormat) -> int:
    """Return the largest size on the disk that the output may have."""
    data = plan.content.data_size
    ratio = _HOLE_RATIOS.get(out_format)
    holes = (plan.content.size - data) // ratio if ratio else 0
    return data + holes + _METADATA_SLACK


def _extended(
    profile: Profile,
    assets: BootAssets,
    options: BuildOptions,
    reporter: Reporter,
    stack: ExitStack,
) -> tuple[BootAssets, tuple[str, ...]]:
    """Return the boot assets with the profile's extensions, and notes; see `with_extensions`."""
    customization = profile.customization
    if not (profile.input.system_extensions or customization.embedded_machine_configuration):
        return assets, ()
    from imager.app.extensions import ExtensionOptions, with_extensions

    pulling = ExtensionOptions(options.registries, options.layer_cache, reporter)
    return with_extensions(profile, assets, pulling, stack)


def _image_cache(profile: Profile, required: Sequence[Reference]) -> ContainerAsset | None:
    """Return the image cache for boot media, else None.

    Raises InputError if images are `required` but there is no cache.
    """
    asset, kind = profile.input.image_cache, profile.output.kind
    if required and not kind.is_medium:
        raise InputError(
            f"{setting('output.kind', kind.value)} has no image cache for --require-images",
            hint="leave --require-images out, or make an iso, image or usb",
        )
    if required and asset is None:
        raise InputError(
            "--require-images needs an image cache",
            hint=f"give one with {setting('input.imageCache')}",
        )
    return asset if kind.is_medium else None


def _puller(
    asset: ContainerAsset, options: BuildOptions, reporter: Reporter, stack: ExitStack
) -> Puller:
    """Return the Puller of the cache; without a layer cache it writes to the output's disk."""
    registries, store = options.registries, options.layer_cache
    if asset.force_insecure:
        registries = registries.with_insecure()
    if store is None:
        beside = options.output.absolute().with_name("image-cache")
        is_large = asset.image_ref and not options.dry_run
        store = stack.enter_context(partial_folder(beside) if is_large else scratch_folder())
    return Puller(registries, store, reporter)


def _open_cache(
    asset: ContainerAsset, puller: Puller, arch: Arch, required: Sequence[Reference]
) -> ImageCache:
    reporter = puller.reporter
    if asset.image_ref:
        location = CacheLocation(Reference.parse_strict(asset.image_ref))
        waiting: AbstractContextManager[None] = nullcontext()
    else:
        location = CacheLocation(Path(asset.oci_path or asset.tarball_path))
        waiting = reporter.waiting(f"opening image cache {location.place}")
    with waiting:
        cache = location.open(puller, arch=arch).cache
    if cache.ignored:
        reporter.warn(
            f"{cache.source}: ignored {cache.ignored} files that are not part of an image cache"
        )
    if foreign := cache.foreign(arch):
        names = ", ".join(map(str, foreign))
        reporter.warn(f"{cache.source}: not for {arch.name}, but for another platform: {names}")
    cache.require_images(required)
    return cache
