"""Create machine configuration patches for an image cache, and check configurations against it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imager.cache.cache import ImageCache
from imager.cache.location import CacheLocation
from imager.cache.pull import DEFAULT_PULL, PullOptions
from imager.discover.findings import ImageField, Note, Problem, full_reference, within
from imager.discover.talos_config import field_findings
from imager.formats.ext4.default import minimum_default_ext4_size
from imager.oci.reference import Reference
from imager.support.errors import ImagerError, InputError, InvalidConfigError
from imager.support.inputs import input_name, read_input
from imager.support.partials import scratch_folder
from imager.support.reporter import QUIET, Reporter
from imager.support.screen import one_line
from imager.support.units import MIB, format_size
from imager.support.yamldocs import LocatedDocument
from imager.support.yamlpaths import text_at, value_at
from imager.talos.components import COMPONENTS, INSTALLER
from imager.talos.config.document import (
    LARGEST_CONFIG,
    MachineConfig,
    examine,
    invalid_config,
    located,
)
from imager.talos.config.doubts import doubts
from imager.talos.config.fields import LineProblem
from imager.talos.config.identity import document_name
from imager.talos.config.patch import patch_text
from imager.talos.config.required_images import needed_defaults
from imager.talos.config.volumes import VOLUME_KIND
from imager.talos.constants import IMAGE_CACHE
from imager.talos.default_images import find_release
from imager.talos.version import TalosVersion
from imager.talos.versions import require_image_cache

_CREATE = "add the missing images to the list of `imager images cache-create`, and create it again"
_INSTALLERS = tuple(
    setting.image
    for component in COMPONENTS
    if component.name == INSTALLER
    for setting in component.settings
)


@dataclass(frozen=True, slots=True)
class SizedCache:
    """A cache, and the size in bytes of the smallest volume that a machine can format for it."""

    cache: ImageCache
    volume_size: int


@dataclass(frozen=True, slots=True)
class Checked:
    """A valid configuration with its required images, warnings, and cache."""

    config: MachineConfig
    images: tuple[Reference, ...]
    warnings: tuple[str, ...]
    sized: SizedCache | None = None


@dataclass(frozen=True, slots=True)
class _Need:
    image: str
    line: int
    where: str


@dataclass(frozen=True, slots=True)
class CheckConfig:
    """A machine configuration to check: a file, or `-` for standard input.

    `version` is the Talos release, by default that of the installer image. The cache at `location`
    must fit the configuration. With `strict`, warnings are errors.
    """

    source: str
    location: CacheLocation | None = None
    version: TalosVersion | None = None
    pull: PullOptions = DEFAULT_PULL
    strict: bool = False


def check_config(wanted: CheckConfig, reporter: Reporter = QUIET) -> Checked:
    """Check a machine configuration and whether a cache fits it.

    Raises as `check_machine_config`, and as `open_cache` and `Puller.pull`.
    """
    text = read_input(wanted.source, what="machine configuration", limit=LARGEST_CONFIG)
    location, source = wanted.location, input_name(wanted.source)
    sized = size_cache(location, wanted.pull, reporter) if location else None
    try:
        checked = check_machine_config(text, source=source, version=wanted.version, sized=sized)
        if wanted.strict and checked.warnings:
            raise InvalidConfigError((), warnings=checked.warnings)
    except InvalidConfigError as error:
        if not wanted.strict:
            raise
        # The warnings are among the problems.
        hint = error.hint or ("these are warnings without --strict" if error.warnings else "")
        problems = [*error.problems, *error.warnings]
        raise InvalidConfigError(problems, hint=hint) from error.__cause__
    return checked


def patch_config(
    location: CacheLocation,
    version: TalosVersion,
    pull: PullOptions = DEFAULT_PULL,
    reporter: Reporter = QUIET,
    *,
    volume: bool = True,
) -> str:
    """Return the patch that enables a cache, and with `volume` adds a volume to copy it to.

    Raises UnsupportedError for a release without image cache support, and as `open_cache`.
    """
    require_image_cache(version)
    sized = size_cache(location, pull, reporter)
    return patch_text(version, sized.volume_size if volume else None)


def size_cache(location: CacheLocation, pull: PullOptions, reporter: Reporter) -> SizedCache:
    """Open a cache and compute the volume size that it needs."""
    with pull.puller(reporter) as puller, scratch_folder() as scratch:
        cache = location.open(puller).cache
        return SizedCache(cache, minimum_default_ext4_size(cache.tree, scratch=scratch))


def check_machine_config(
    text: str, *, source: str, version: TalosVersion | None, sized: SizedCache | None
) -> Checked:
    """Check the configuration `text`; `source` is its name in messages.

    `version` is the Talos release, by default that of the installer image. A cache must fit into
    the volume and contain the required images. Raises InvalidConfigError with all problems and
    their lines, InputError for invalid YAML, UnsupportedError if there is a cache and the release
    does not support one.
    """
    if sized and version:
        require_image_cache(version)
    config, problems = examine(text, source=source, version=version)
    installed = _release(config.documents)
    if version is None and installed:
        version = installed
        config, problems = examine(text, source=source, version=version)
    warnings = list(doubts(config))
    needs = [*_named(config, problems, warnings), *_defaults(config, version, warnings)]
    images = tuple(sorted({Reference.parse(need.image) for need in needs}, key=str))
    lacking = list(_lacking(needs, sized.cache)) if sized else []
    if sized:
        problems += [*lacking, *_too_small(config, sized), *_turned_off(config, problems)]
        warnings += _too_small_at_least(config, sized)
    if problems:
        hint = _CREATE if lacking else ""
        raise invalid_config(source, problems, warnings=warnings, hint=hint)
    return Checked(config, images, located(source, warnings), sized)


def _named(
    config: MachineConfig, problems: list[LineProblem], warnings: list[LineProblem]
) -> Iterator[_Need]:
    """Yield the images that fields name, and append to `problems` and `warnings`."""
    for document in config.documents:
        name = document_name(document.value)
        for found in field_findings(document.value):
            line = document.line(found.where.partition(": ")[0])
            where = within(name, found).where
            match found:
                case ImageField(_, value):
                    try:
                        yield _Need(full_reference(value), line, where)
                    except ImagerError as error:
                        problems.append(LineProblem(line, one_line(f"{where}: {error.message}")))
                case Note(_, text) | Problem(_, text):
                    messages = problems if isinstance(found, Problem) else warnings
                    messages.append(LineProblem(line, one_line(f"{where}: {text}")))


def _defaults(
    config: MachineConfig, version: TalosVersion | None, warnings: list[LineProblem]
) -> Iterator[_Need]:
    release = version.text if version else ""
    if not release:
        if any(text_at(each.value, "machine.type") for each in config.documents):
            text = "the Talos release is unknown, so its own images are not checked: give it"
            warnings.append(LineProblem(1, f"{text} as --talos-version"))
        return
    try:
        found = find_release(release)
    except InputError as error:
        warnings.append(LineProblem(1, f"{error.message}: its own images are not checked"))
        return
    if found.note:
        warnings.append(LineProblem(1, found.note))
    for need in needed_defaults(config.documents, found.images):
        yield _Need(need.image, need.line, f"Talos {release} needs it")


def _release(documents: tuple[LocatedDocument, ...]) -> TalosVersion | None:
    """Return the release in the tag of the installer image, or None if there is none."""
    for document in documents:
        for path in _INSTALLERS:
            image = value_at(document.value, path)
            try:
                tag = Reference.parse(image).tag if isinstance(image, str) and image else None
                if tag:
                    return TalosVersion.parse(tag)
            except ImagerError:
                continue
    return None


def _lacking(needs: list[_Need], cache: ImageCache) -> Iterator[LineProblem]:
    for need in needs:
        if not cache.has(Reference.parse(need.image)):
            text = f"the image cache lacks {need.image} ({need.where})"
            yield LineProblem(need.line, one_line(text))


def _too_small(config: MachineConfig, sized: SizedCache) -> Iterator[LineProblem]:
    volume = config.volume
    if volume and volume.max_size.is_fixed and volume.max_size.size < sized.volume_size:
        yield LineProblem(
            _volume_line(config, "maxSize"),
            f"the volume {IMAGE_CACHE} is too small: the image cache needs "
            f"{_written(sized.volume_size)}, maxSize is {volume.max_size}",
        )


def _turned_off(config: MachineConfig, problems: list[LineProblem]) -> Iterator[LineProblem]:
    """Yield a problem if the cache is disabled, unless `problems` already contains the setting.

    A patch without the setting is valid, since it is applied to a configuration that has it.
    """
    settings = config.image_cache
    is_wrong = any(problem.line == settings.line for problem in problems) and settings.where
    if not settings.enabled and not is_wrong and (settings.where or not config.is_patch):
        yield LineProblem(
            settings.line,
            "the image cache is disabled, so --image-cache is not used: "
            "`imager config patch` prints a patch that enables it",
        )


def _too_small_at_least(config: MachineConfig, sized: SizedCache) -> Iterator[LineProblem]:
    if config.volume and config.volume.min_size < sized.volume_size:
        yield LineProblem(
            _volume_line(config, "minSize"),
            f"on a disk with little space the volume {IMAGE_CACHE} gets only "
            f"{config.volume.min_size >> 20}MiB, but the image cache needs "
            f"{_written(sized.volume_size)}: set minSize to that",
        )


def _volume_line(config: MachineConfig, key: str) -> int:
    """Return the line of a field of the volume's provisioning, or of its nearest present parent."""
    return config.document(f"{VOLUME_KIND} {IMAGE_CACHE}").line(f"provisioning.{key}")


def _written(size: int) -> str:
    return f"{size // MIB}MiB ({format_size(size)})"
