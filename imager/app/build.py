"""Build a profile: the sequence of steps from profile to output file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from imager.app.boot_assets import AssetOptions, asset_notes, boot_assets, talos_version
from imager.app.build_cache import open_build_cache
from imager.app.container_images import Pulling
from imager.app.enrollment import enroll_keys
from imager.app.opened_profile import OpenedProfile
from imager.app.release.options import Release
from imager.bootassets.find import BootAssets
from imager.bootassets.named import NamedAssets
from imager.cache.cache import ImageCache
from imager.efi.keyfiles import DEFAULT_FOLDER
from imager.image.bootloader.boot import BuildContext
from imager.image.destination import Replaced, check_replaceable, output_path
from imager.image.disk_formats import DiskImage, disk_image, space_needed
from imager.image.outputs import plan_output
from imager.image.plan import BaseInstaller, OutputPlan, Target
from imager.image.published import SUMS
from imager.image.write import (
    WriteJob,
    Written,
    write_output,
    write_to_device,
)
from imager.oci.reference import Reference
from imager.oci.settings import RegistrySettings
from imager.profile.leftout import left_out
from imager.profile.model import Profile
from imager.profile.output_name import output_name
from imager.support.arch import find_arch
from imager.support.blockdevices import BlockDevice
from imager.support.errors import InputError, UnsupportedError
from imager.support.fields import setting
from imager.support.folders import check_free_space, created_folder, temporary_place
from imager.support.partials import scratch_folder
from imager.support.reporter import QUIET, Reporter
from imager.support.repro import source_date_epoch
from imager.talos.choices import DiskFormat, OutFormat, OutputKind
from imager.talos.version import TalosVersion
from imager.talos.versions import require_image_cache

if TYPE_CHECKING:
    from imager.app.overlay_image import OverlayImage
    from imager.content.extents import Content
    from imager.efi.detached import DetachedKey
    from imager.efi.secureboot import SecureBoot
    from imager.image.overlay import InstalledOverlay
    from imager.image.stream import Stream
    from imager.image.write import Beside
    from imager.oci.push import Pushed


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """Options for building a profile; `layer_cache` is a folder.

    `output` is a folder or the file to write. An existing file is replaced if `clobber`. With
    `device`, the output is written to that disk instead. `assets` is a folder of boot assets, or a
    container image that has them: its reference, OCI layout or archive. The cache must contain the
    images in the lists `require_images`. `secureboot` is the folder of keys and certificates.
    `bmap` describes the output for bmaptool in a file beside it; `release` adds other files. `push`
    is the reference that an installer image is pushed as, instead of being written. With `stream`,
    the output is sent there.
    `timestamp` is the time in the output, by default SOURCE_DATE_EPOCH.
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
    device: Path | None = None
    bmap: bool = False
    release: Release = field(default_factory=Release)
    push: str | None = None
    stream: Stream | None = None
    timestamp: int = field(default_factory=source_date_epoch)

    @property
    def names_file(self) -> bool:
        """Whether the output is for a file."""
        return not (self.device or self.push or self.stream)

    @property
    def writes_file(self) -> bool:
        """Whether the output is written to a file."""
        return self.names_file and not self.dry_run


@dataclass(frozen=True, slots=True)
class Planned:
    """A planned output and the requirements for writing it; sizes in bytes.

    `image` is the plan's content in the format of the disk. `place` is where it goes, for messages:
    `path`, or else a disk, standard output or a registry. `replaced` is the existing file at
    `path`. With `device`, the output is written to that disk. `folder` is the one that needs
    `space_needed`; None if no file is written. `with_bmap` and `sign_key` are for the files that
    come with the output of `profile`.
    """

    plan: OutputPlan
    image: DiskImage
    path: Path
    place: str
    out_format: OutFormat
    build: BuildContext
    cache: ImageCache | None
    space_needed: int
    replaced: Replaced | None
    device: BlockDevice | None
    folder: Path | None
    profile: Profile
    with_bmap: bool
    sign_key: DetachedKey | None

    def check_space(self) -> None:
        """Raise HostError if there is too little disk space for the output."""
        if self.folder:
            check_free_space(self.folder, self.space_needed)


@contextmanager
def planned_build(
    profile: Profile,
    options: BuildOptions,
    reporter: Reporter = QUIET,
    *,
    overlay: OverlayImage | None = None,
) -> Iterator[Planned]:
    """Plan the output of `profile`; the plan is valid inside the block.

    `overlay` is the profile's overlay image, if it is open already; see `opened_profile`.
    Writes only metadata and what is pulled from a registry, to temporary folders unless there is a
    layer cache, and boot assets of an image to the user's cache. Raises ImagerError for any problem
    with the profile's inputs.
    """
    required = _required(options)
    path = _path(profile, options)
    with_bmap = options.bmap or (options.release.medium_bmap and _is_medium(profile))
    replaced = _checked_places(path, options, with_bmap=with_bmap) if options.names_file else None
    sign_key = _sign_key(options, reporter)
    with ExitStack() as stack:
        if options.writes_file:
            stack.enter_context(created_folder(path.parent))
        beside = path.absolute().with_name("image-cache") if options.writes_file else None
        pulling = Pulling(options.registries, options.layer_cache, reporter, beside)
        target, notes = _target(OpenedProfile(profile, overlay), options, required, pulling, stack)
        plan = plan_output(profile.output.kind, target)
        image = _disk_image(profile, plan, target.build)
        yield Planned(
            plan=replace(plan, notes=(*plan.notes, *notes)),
            image=image,
            path=path,
            place=_place(path, options),
            out_format=profile.output.out_format,
            build=target.build,
            cache=target.cache,
            space_needed=space_needed(image, profile.output.out_format),
            replaced=replaced,
            device=_device(profile, options, plan.content.size),
            folder=_folder(path, options, image, profile.output.out_format),
            profile=profile,
            with_bmap=with_bmap,
            sign_key=sign_key,
        )


def _checked_places(path: Path, options: BuildOptions, *, with_bmap: bool) -> Replaced | None:
    """Return the file that the output replaces; raises as `check_replaceable` for all files."""
    options.release.require_libraries()
    for each in options.release.paths(path, with_bmap=with_bmap):
        # Builds share the list of checksums, and keep the lines of others.
        check_replaceable(each, clobber=options.clobber or each.name == SUMS)
    return check_replaceable(path, clobber=options.clobber)


def _sign_key(options: BuildOptions, reporter: Reporter) -> DetachedKey | None:
    if not options.release.sign_key:
        return None
    from imager.efi.detached import open_detached_key

    key, warnings = open_detached_key(options.release.sign_key)
    for warning in warnings:
        reporter.warn(warning)
    return key


def _path(profile: Profile, options: BuildOptions) -> Path:
    """Return the path of the output: the disk, the file, or only the name of what is sent."""
    name = output_name(profile)
    if options.names_file:
        return output_path(options.output, name)
    return options.device or Path(name)


def _place(path: Path, options: BuildOptions) -> str:
    if options.stream:
        return f"{path} in a tar.gz on standard output" if options.stream.tar else "standard output"
    return options.push or str(path)


def _folder(
    path: Path, options: BuildOptions, image: DiskImage, out_format: OutFormat
) -> Path | None:
    """Return the folder that the output takes space in; None if it is not a file on the way."""
    if options.stream and options.stream.needs_file(image, out_format):
        return temporary_place()
    return path.parent if options.names_file else None


def _target(
    opened: OpenedProfile,
    options: BuildOptions,
    required: Sequence[Reference],
    pulling: Pulling,
    stack: ExitStack,
) -> tuple[Target, tuple[str, ...]]:
    """Return all inputs of the output, opened, and notes on them."""
    profile = opened.profile
    reporter = pulling.reporter
    assets, missing = build_assets(profile, options, reporter, stack)
    version = talos_version(profile, assets)
    for warning in version.warnings:
        reporter.warn(warning)
    if profile.input.image_cache is not None:
        require_image_cache(version)
    extended, added = _extended(profile, assets, options.timestamp, pulling, stack)
    cache = open_build_cache(profile, required, pulling, stack)
    context = BuildContext(
        arch=find_arch(profile.arch),
        version=version,
        assets=extended,
        timestamp=options.timestamp,
        scratch=stack.enter_context(scratch_folder()),
        platform=profile.platform,
        sector_size=profile.output.image_options.disk_sector_size,
        secure_boot=_secure_boot(profile, options, reporter),
        enroll_keys=enroll_keys(profile),
        overlay=_overlay(opened, pulling, stack),
    )
    target = Target(
        build=context,
        cache=cache,
        meta={item.key: item.value for item in profile.customization.meta_contents},
        extra_kernel_args=profile.customization.extra_kernel_args,
        disk_size=profile.output.image_options.disk_size,
        bootloader=profile.output.bootloader,
        base_installer=_base_installer(opened, version, pulling, stack),
    )
    taken = asset_notes(profile, assets)
    return target, (*missing, *taken, *added, *left_out(profile, version))


def build_assets(
    profile: Profile, options: BuildOptions, reporter: Reporter, stack: ExitStack
) -> tuple[BootAssets, tuple[str, ...]]:
    """Return the boot assets of a build, and notes on those that the profile names in vain.

    Temporary files are removed with `stack`. Raises as `boot_assets`.
    """
    named = NamedAssets.of(profile.input, find_arch(profile.arch))
    wanted = AssetOptions(options.assets, options.registries, options.layer_cache)
    return boot_assets(profile, named.files, wanted, reporter, stack), named.notes


# What few builds need is loaded by those alone.


def _required(options: BuildOptions) -> Sequence[Reference]:
    """Return the images that the cache must contain."""
    if not options.require_images:
        return ()
    from imager.cache.lists import read_image_list

    return read_image_list(options.require_images)


def _secure_boot(profile: Profile, options: BuildOptions, reporter: Reporter) -> SecureBoot | None:
    """Return the keys that sign the output, if it is signed; see `open_secure_boot`."""
    if not (profile.secureboot or profile.input.secureboot):
        return None
    from imager.app.signing_keys import open_secure_boot

    return open_secure_boot(profile, options.secureboot, options.timestamp, reporter)


def _overlay(opened: OpenedProfile, pulling: Pulling, stack: ExitStack) -> InstalledOverlay | None:
    """Return what the profile's overlay adds to the output; see `open_overlay`."""
    if opened.profile.overlay is None:
        return None
    from imager.app.overlay import open_overlay

    return open_overlay(opened, opened.profile.overlay, pulling, stack)


def _base_installer(
    opened: OpenedProfile, version: TalosVersion, pulling: Pulling, stack: ExitStack
) -> BaseInstaller | None:
    """Return the base of an installer image; see `open_base_installer`."""
    if opened.profile.output.kind is not OutputKind.INSTALLER:
        return None
    from imager.app.base_installer import open_base_installer
    from imager.app.overlay import overlay_for_installer

    carried = overlay_for_installer(opened, pulling, stack)
    return open_base_installer(opened.profile, version, pulling, stack, carried)


def _extended(
    profile: Profile, assets: BootAssets, timestamp: int, pulling: Pulling, stack: ExitStack
) -> tuple[BootAssets, tuple[str, ...]]:
    """Return the boot assets with the profile's extensions, and notes; see `with_extensions`."""
    customization = profile.customization
    if not (profile.input.system_extensions or customization.embedded_machine_configuration):
        return assets, ()
    from imager.app.extensions import with_extensions

    return with_extensions(profile, assets, timestamp, pulling, stack)


def _disk_image(profile: Profile, plan: OutputPlan, build: BuildContext) -> DiskImage:
    if profile.output.kind is not OutputKind.IMAGE:
        return plan.content
    options = profile.output.image_options
    image = disk_image(plan.content, options.disk_format, options.disk_options, build)
    if options.disk_format is DiskFormat.OVA and profile.output.out_format is not OutFormat.RAW:
        raise UnsupportedError(
            f"{setting('output.outFormat', profile.output.out_format.value)}: an OVA is compressed"
            " already",
            hint=f"leave it out, or choose {setting('output.outFormat', 'raw')}",
        )
    return image


def _device(profile: Profile, options: BuildOptions, size: int) -> BlockDevice | None:
    """Return the disk to write to, checked; None if the output is a file."""
    if options.device is None:
        return None
    from imager.image.device import find_device

    if not _is_medium(profile):
        raise UnsupportedError(
            "--output-device is for an ISO, a USB stick or a raw disk image: this is"
            f" {_kind(profile)}",
            hint="build one of them, such as metal, or write to a file with --output",
        )
    disk = profile.output.image_options
    sector_size = disk.disk_sector_size if profile.output.kind is OutputKind.IMAGE else None
    return find_device(options.device, size=size, sector_size=sector_size)


def _is_medium(profile: Profile) -> bool:
    """Return whether the output is the bytes of a medium: an ISO, a stick or a raw disk."""
    is_raw = profile.output.image_options.disk_format is DiskFormat.RAW
    return profile.output.kind.is_medium and is_raw


def _kind(profile: Profile) -> str:
    """Return what a profile makes, for messages."""
    if profile.output.kind is not OutputKind.IMAGE:
        return f"the output {profile.output.kind.value}"
    return f"a disk image in the format {profile.output.image_options.disk_format.value}"


def write_build(planned: Planned, options: BuildOptions, reporter: Reporter = QUIET) -> Written:
    """Write a planned output.

    See `write_output`, `write_device` and `send_output` for the errors.
    """
    planned.check_space()
    job = WriteJob(
        content=planned.image,
        path=planned.path,
        out_format=planned.out_format,
        checks=planned.cache.checks if planned.cache and options.verify else (),
        checksum=options.checksum or not options.release.is_empty,
        clobber=options.clobber,
        timestamp=planned.build.timestamp,
    )
    if options.stream:
        return _send(job, options.stream, options, reporter)
    with reporter.transfer(f"writing {planned.path.name}", job.stored.data_size) as advance:
        if planned.device:
            return write_to_device(job, planned.device, progress=advance)
        with _beside(planned, options.release, job.disk) as beside:
            return write_output(job, progress=advance, beside=beside)


def _beside(
    planned: Planned, release: Release, disk: Content
) -> AbstractContextManager[Beside | None]:
    """Return what makes the files that come with the output, while the block writes it."""
    if release.is_empty and not planned.with_bmap:
        return nullcontext()
    from imager.app.release.files import making
    from imager.app.release.inputs import OpenedBuild

    opened = OpenedBuild(planned.profile, planned.plan, disk, planned.build, planned.cache)
    sources, key = opened.sources(release), planned.sign_key
    return making(release, planned.path, sources, key, with_bmap=planned.with_bmap)


def _send(job: WriteJob, stream: Stream, options: BuildOptions, reporter: Reporter) -> Written:
    """Send an output, from a temporary file if it cannot be made in order."""
    from imager.image.stream import file_job, send_output, tar_job

    described = None
    if options.bmap:
        from imager.formats.bmap import bmap

        with reporter.waiting(f"describing {job.path}"):
            described = bmap(job.disk)
    with ExitStack() as stack:
        if stream.needs_file(job.content, job.out_format):
            made = replace(job, path=stack.enter_context(scratch_folder()) / job.path)
            with reporter.transfer(f"writing {job.path}", job.stored.data_size) as advance:
                write_output(replace(made, checksum=False), progress=advance)
            job = file_job(job, made.path)
        sent = tar_job(job, described) if stream.tar else job
        with reporter.transfer(f"sending {job.path}", sent.stored.data_size) as advance:
            return send_output(job, sent, stream.file, progress=advance)


def push_build(planned: Planned, options: BuildOptions, reporter: Reporter = QUIET) -> Pushed:
    """Push a planned installer image as `options.push`, without writing it to a file.

    Raises InputError for an invalid reference and for another output, DependencyError if the
    registry fails.
    """
    from imager.oci.push import PushOptions, push
    from imager.oci.registry import RegistryClient

    reference = Reference.parse_strict(options.push or "")
    image = planned.plan.image
    if image is None:
        raise InputError("--push is for installer images", hint="build installer")
    client = RegistryClient.from_settings(options.registries)
    plan = image.push_plan()
    return push(plan, reference, client=client, options=PushOptions(), reporter=reporter)


def build(profile: Profile, options: BuildOptions, reporter: Reporter = QUIET) -> Written:
    """Build a profile; raises as `planned_build` and `write_build`."""
    with planned_build(profile, options, reporter) as planned:
        return write_build(planned, options, reporter)
