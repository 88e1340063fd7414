"""Build a profile: the sequence of steps from profile to output file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from imager.app.build_options import BuildOptions
from imager.app.build_target import open_target, required_images
from imager.app.container_images import Pulling
from imager.app.opened_profile import OpenedProfile
from imager.app.release.options import Release
from imager.cache.cache import ImageCache
from imager.image.bootloader.boot import BuildContext
from imager.image.destination import Replaced, check_replaceable, output_path
from imager.image.disk_formats import DiskImage, disk_image, space_needed
from imager.image.outputs import plan_output
from imager.image.plan import OutputPlan
from imager.image.write import (
    WriteJob,
    Written,
    write_output,
    write_to_device,
)
from imager.oci.reference import Reference
from imager.profile.model import Profile
from imager.profile.output_name import output_name
from imager.support.errors import InputError, UnsupportedError
from imager.support.fields import setting
from imager.support.folders import check_free_space, created_folder, temporary_place
from imager.support.partials import scratch_folder
from imager.support.reporter import QUIET, Reporter
from imager.support.sums import SUMS
from imager.talos.choices import DiskFormat, OutFormat, OutputKind

if TYPE_CHECKING:
    from imager.app.overlay_image import OverlayImage
    from imager.content.extents import Content
    from imager.efi.detached import DetachedKey
    from imager.image.stream import Stream
    from imager.image.write import Beside
    from imager.oci.push import Pushed
    from imager.support.blockdevices import BlockDevice


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
    required = required_images(options)
    path = _path(profile, options)
    with_bmap = options.bmap or (options.release.medium_bmap and _is_medium(profile))
    replaced = _checked_places(path, options, with_bmap=with_bmap) if options.names_file else None
    sign_key = _sign_key(options, reporter)
    with ExitStack() as stack:
        if options.writes_file:
            stack.enter_context(created_folder(path.parent))
        beside = path.absolute().with_name("image-cache") if options.writes_file else None
        pulling = Pulling(options.registries, options.layer_cache, reporter, beside)
        target, notes = open_target(
            OpenedProfile(profile, overlay), options, required, pulling, stack
        )
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
    reporter.warn(*warnings)
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
    from imager.oci.settings import RegistrySettings

    reference = Reference.parse_strict(options.push or "")
    image = planned.plan.image
    if image is None:
        raise InputError("--push is for installer images", hint="build installer")
    client = RegistryClient.from_settings(options.registries or RegistrySettings())
    plan = image.push_plan()
    return push(plan, reference, client=client, options=PushOptions(), reporter=reporter)


def build(profile: Profile, options: BuildOptions, reporter: Reporter = QUIET) -> Written:
    """Build a profile; raises as `planned_build` and `write_build`."""
    with planned_build(profile, options, reporter) as planned:
        return write_build(planned, options, reporter)
