"""Read the image cache settings of a machine configuration: on or off, and the volume."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from imager.support.errors import InputError, InvalidConfigError
from imager.support.yamldocs import LocatedDocument, load_located
from imager.support.yamlpaths import text_at
from imager.talos.config.fields import FieldReader, LineProblem
from imager.talos.config.identity import document_name, is_machine_config
from imager.talos.config.image_verification import (
    VERIFICATION_KIND,
    VerificationRules,
    read_verification,
)
from imager.talos.config.kinds import KINDS
from imager.talos.config.volumes import VOLUME_KIND, VolumeSettings, read_volume
from imager.talos.version import NEWEST_KINDS, TalosVersion
from imager.talos.versions import IMAGE_CACHE_CONFIG_SINCE, IMAGE_CACHE_SINCE

LARGEST_CONFIG = 4 << 20
# The document that configures the image cache in newer releases.
DOCUMENT_KIND = "ImageCacheConfig"
_FIELD = "machine.features.imageCache.localEnabled"


@dataclass(frozen=True, slots=True)
class ImageCacheSettings:
    """Whether the image cache is on, and `where`, at which `line`, it is set; off by default."""

    enabled: bool = False
    where: str = ""
    line: int = 1


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """A machine configuration; `volume` is None if it has no volume for the cache.

    `source` is its name in messages: the file name. `verification` is None if it has no rules for
    the signatures of images.
    """

    source: str
    documents: tuple[LocatedDocument, ...]
    image_cache: ImageCacheSettings
    volume: VolumeSettings | None
    verification: VerificationRules | None

    @property
    def is_patch(self) -> bool:
        """Whether it is a patch: `machine.type` is missing."""
        return not any(text_at(each.value, "machine.type") for each in self.documents)

    def document(self, name: str) -> LocatedDocument:
        """Return the document called `name`, which must exist."""
        return next(each for each in self.documents if document_name(each.value) == name)


def read_machine_config(
    text: str, *, source: str, version: TalosVersion | None = None
) -> MachineConfig:
    """Read the settings in `text`, a stream of YAML documents; other kinds are skipped.

    Anything that `version` (None: any) does not support is a problem. Raises InvalidConfigError
    with all problems at once, InputError for invalid YAML.
    """
    config, problems = examine(text, source=source, version=version)
    if problems:
        raise invalid_config(source, problems)
    return config


def invalid_config(
    source: str,
    problems: list[LineProblem],
    *,
    warnings: list[LineProblem] | None = None,
    hint: str = "",
) -> InvalidConfigError:
    """Return the error that lists `problems` of the file `source` by line, with its `warnings`."""
    return InvalidConfigError(
        located(source, problems), warnings=located(source, warnings or []), hint=hint
    )


def located(source: str, problems: list[LineProblem]) -> tuple[str, ...]:
    """Return `problems` of the file `source` as text, sorted by line, without duplicates."""
    return tuple(dict.fromkeys(each.located(source) for each in sorted(problems)))


def examine(
    text: str, *, source: str, version: TalosVersion | None
) -> tuple[MachineConfig, list[LineProblem]]:
    """Return the valid settings in `text`, and all problems.

    Raises InputError for invalid YAML.
    """
    try:
        documents = [each for each in load_located(text) if each.value is not None]
    except InputError as error:
        raise InputError(f"{source}: {error.message}") from error
    problems: list[LineProblem] = []
    sections = [FieldReader(each, document_name(each.value), problems) for each in documents]
    if not sections:
        problems.append(LineProblem(1, "contains no documents"))
    ours = _known(sections, version)
    cache = _image_cache(ours, version)
    found = [read_volume(each, version) for each in ours if _kind(each) == VOLUME_KIND]
    volume = next(filter(None, found), None)
    rules = [read_verification(each) for each in ours if _kind(each) == VERIFICATION_KIND]
    verification = next(iter(rules), None)
    kept = tuple(each.document for each in ours)
    return MachineConfig(source, kept, cache, volume, verification), problems


def _kind(section: FieldReader) -> str:
    return text_at(section.document.value, "kind")


def _known(sections: list[FieldReader], version: TalosVersion | None) -> list[FieldReader]:
    """Return the documents of a machine configuration; report others, and duplicates."""
    known: dict[str, FieldReader] = {}
    for section in sections:
        if not is_machine_config(section.document.value):
            section.report("is not a document of a Talos machine configuration")
        elif section.name in known:
            section.report(f"is a duplicate of the document at line {known[section.name].line()}")
        else:
            known[section.name] = section
            _check_kind(section, version)
    return list(known.values())


def _check_kind(section: FieldReader, version: TalosVersion | None) -> None:
    """Report a kind that no known release has, or that `version` does not have."""
    kind = section.text("kind")
    since = KINDS.get(kind)
    if _has_empty_kind(section):
        section.report("is empty: set it, or remove the key from a v1alpha1 document", key="kind")
    elif since is None and kind:
        if version is None or version.numbers[:2] <= NEWEST_KINDS:
            section.report(
                f"Talos has no documents of kind {kind[:40]!r}{_nearest(kind)}", key="kind"
            )
    elif since and version and not version.at_least(*since) and kind != DOCUMENT_KIND:
        section.report(version.lacks(kind, since), key="kind")


def _has_empty_kind(section: FieldReader) -> bool:
    value = section.document.value
    return isinstance(value, Mapping) and value.get("kind", "absent") in ("", None)


def _nearest(kind: str) -> str:
    lower = {known.lower(): known for known in KINDS}
    close = difflib.get_close_matches(kind[:40].lower(), lower, n=1)
    return f" (did you mean {lower[close[0]]}?)" if close else ""


def _image_cache(sections: list[FieldReader], version: TalosVersion | None) -> ImageCacheSettings:
    places = []
    for section in sections:
        kind = _kind(section)
        if kind == DOCUMENT_KIND:
            places.append(_from_document(section, version))
        elif not kind:
            features = section.section("machine").section("features")
            if features.has("imageCache"):
                places.append(_from_features(features, version))
    if len(places) > 1:
        sections[0].problems.append(
            LineProblem(
                max(place.line for place in places),
                f"the image cache is set twice: {' and '.join(place.where for place in places)}",
            )
        )
    return places[0] if places else ImageCacheSettings()


def _from_features(features: FieldReader, version: TalosVersion | None) -> ImageCacheSettings:
    if version and not version.at_least(*IMAGE_CACHE_SINCE):
        features.report(f"Talos {version.text} has no image cache", key="imageCache")
    settings = features.section("imageCache")
    settings.require_known(("localEnabled",))
    enabled = settings.flag("localEnabled") or False
    return ImageCacheSettings(enabled, _FIELD, settings.line("localEnabled"))


def _from_document(section: FieldReader, version: TalosVersion | None) -> ImageCacheSettings:
    if version and not version.at_least(*IMAGE_CACHE_CONFIG_SINCE):
        section.report(f"Talos {version.text} does not support it: set {_FIELD} instead")
    section.require_known(("apiVersion", "kind", "local"))
    local = section.section("local")
    local.require_known(("enabled",))
    where = f"{DOCUMENT_KIND}: local.enabled"
    return ImageCacheSettings(local.flag("enabled") or False, where, local.line("enabled"))
