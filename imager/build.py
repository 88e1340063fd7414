"""A build, from a profile to a file: the readable sequence of its steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from imager.arch import Arch, find_arch
from imager.bootassets.locate import Asset, BootAssets, find_assets
from imager.errors import InputError
from imager.imagecache.cache import ImageCache
from imager.imagecache.layercache import LayerCache
from imager.imagecache.open import open_cache
from imager.imagecache.pull import pull_cache
from imager.oci.reference import Reference
from imager.oci.settings import RegistrySettings
from imager.output.outputs import OUTPUTS
from imager.output.plan import OutputPlan, Target
from imager.output.write import WriteJob, Written, write_output
from imager.profile.model import EnrollKeys, OutFormat, Profile, SecureBootInput
from imager.profile.version import DEFAULT_VERSION, TalosVersion
from imager.reporter import Reporter
from imager.repro import source_date_epoch
from imager.signing.secureboot import (
    DEFAULT_FOLDER,
    WELL_KNOWN,
    SecureBoot,
    SecureBootFiles,
    load_secure_boot,
)
from imager.units import MIB
from imager.workspace import check_free_space, check_output_folder, partial_folder, scratch_folder


@dataclass(frozen=True, slots=True)
class Options:
    """How to build, beside what to build; `assets`, `output` and `layer_cache` are folders.

    `secureboot` is the folder of keys and certificates.
    """

    output: Path
    assets: Path | None = None
    registries: RegistrySettings = field(default_factory=RegistrySettings)
    layer_cache: Path | None = None
    require_images: Sequence[Reference] = ()
    verify: bool = True
    checksum: bool = False
    dry_run: bool = False
    secureboot: Path = DEFAULT_FOLDER


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
            bootloader=profile.output.bootloader,
            sector_size=profile.output.image_options.disk_sector_size,
            secure_boot=_secure_boot(profile, options, reporter),
            enroll_keys=_enroll_keys(profile),
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


def _secure_boot(profile: Profile, options: Options, reporter: Reporter) -> SecureBoot | None:
    """Return what signs the output, if anything does; warns of what is wrong with the keys."""
    if not profile.secureboot:
        if profile.input.secureboot:
            raise InputError(
                "input.secureboot: this profile is not one for SecureBoot",
                hint="build secureboot-iso or secureboot-metal, or set secureboot: true",
            )
        return None
    given = profile.input.secureboot or SecureBootInput()
    files = SecureBootFiles.in_folder(options.secureboot)
    if signer := given.secure_boot_signer:
        files = replace(files, key=Path(signer.key_path), certificate=Path(signer.cert_path))
    if given.pcr_signer:
        files = replace(files, pcr_key=Path(given.pcr_signer.key_path))
    paths = (given.platform_key_path, given.key_exchange_key_path, given.signature_key_path)
    pk, kek, db = (
        Path(path) if path else usual for path, usual in zip(paths, files.variables, strict=True)
    )
    files = replace(files, variables=(pk, kek, db))
    if given.include_well_known_certs:
        files = files.with_well_known(options.secureboot / WELL_KNOWN)
    loaded = load_secure_boot(files, now=datetime.now(UTC))
    for warning in loaded.warnings:
        reporter.warn(warning)
    return loaded.secure_boot


def _enroll_keys(profile: Profile) -> EnrollKeys:
    """Return how keys are enrolled; raises InputError for a way to, where there are no keys."""
    asked = profile.output.enroll_keys
    if not profile.secureboot:
        if asked not in (None, EnrollKeys.OFF):
            raise InputError(
                f"sdBootEnrollKeys: {asked.value}: without SecureBoot there are no keys to enroll",
                hint="build secureboot-iso or secureboot-metal, or leave it out",
            )
        return EnrollKeys.OFF
    return asked or EnrollKeys.IF_SAFE


def _asset_files(profile: Profile) -> dict[Asset, Path]:
    given = {
        Asset.KERNEL: profile.input.kernel,
        Asset.INITRAMFS: profile.input.initramfs,
        Asset.SD_BOOT: profile.input.sd_boot,
        Asset.SD_STUB: profile.input.sd_stub,
    }
    return {asset: Path(file.path) for asset, file in given.items() if file is not None}


@contextmanager
def _layer_cache(options: Options) -> Iterator[LayerCache]:
    """Yield the layer cache, else one for this run, on the output's disk: there must be room."""
    if options.layer_cache is not None:
        yield LayerCache.open(options.layer_cache)
        return
    output = options.output.absolute() / "image-cache"
    with scratch_folder() if options.dry_run else partial_folder(output) as folder:
        yield LayerCache.open(folder)


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

        settings = options.registries
        if asset.force_insecure:
            settings = settings.with_insecure()
        cache = pull_cache(
            Reference.parse_strict(asset.image_ref),
            arch=arch,
            client=RegistryClient.from_settings(settings),
            layer_cache=stack.enter_context(_layer_cache(options)),
            reporter=reporter,
        )
    else:
        path = Path(asset.oci_path or asset.tarball_path)
        with reporter.waiting(f"opening image cache {path}"):
            cache = open_cache(path, arch=arch)
    if cache.ignored:
        reporter.warn(f"{cache.source}: left out {cache.ignored} files that no image cache has")
    if foreign := cache.foreign(arch):
        names = ", ".join(map(str, foreign))
        reporter.warn(f"{cache.source}: not for {arch.name}, but for another platform: {names}")
    cache.require_images(options.require_images)
    return cache
