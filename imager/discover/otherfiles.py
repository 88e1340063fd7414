"""Find the images in image lists, and in files of tools other than Kubernetes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain

from imager.cache.lists import list_lines
from imager.discover import likeness
from imager.discover.findings import (
    Finding,
    ImageField,
    Nested,
    Note,
    Problem,
    Remark,
    Suspect,
    within,
)
from imager.discover.manifesttext import Text
from imager.discover.places import Rules, rules_of
from imager.discover.scan import known_image, scan
from imager.discover.spots import Spot
from imager.oci.local import LocalImage, RemoteEntry, parse_entry
from imager.oci.reference import is_registry, is_tag
from imager.support.errors import ImagerError
from imager.support.yamlpaths import items_at, shown, text_at, value_at

_OMNI_KINDS = frozenset({"Cluster", "ControlPlane", "Workers", "Machine"})
_ZARF_KINDS = frozenset({"ZarfPackageConfig", "ZarfInitConfig"})
_CHART = "a Helm chart: list the output of `helm template` too"
_EXTENSIONS = (
    "Omni puts system extensions into an installer of an image factory; "
    "add that installer to the list"
)
_BUILT = "its image is built: add the image under the name that you push it with"
_INCLUDED = "it includes another file: list that too"
_SKOPEO_CHOICES = ("images-by-tag-regex", "images-by-semver")

_NO_NAME = "not listed, since the entry does not name its image; write NAME=SOURCE"
_SOURCE = "its name is listed, not its source: give this list to `cache-create --images` too"
_YAML_LINE = re.compile(r"---|\S+:(?:\s|$)|- ")

Fields = Mapping[object, object]


def line_list(text: str) -> tuple[Finding, ...]:
    """Return the findings in `text` if it is a list of images, one per line; empty if it is not.

    RKE2, K3s and k0s publish such lists; `cache-create` accepts them too. If at least half of the
    lines are images, every other line is a Problem.
    """
    lines = list_lines(text)
    if not any(_is_likely(word) for _, word in lines):
        return ()
    found = [_entry(word, Spot(line=line)) for line, word in lines]
    wrong = [line for each, (line, _) in zip(found, lines, strict=True) if each is None]
    if len(wrong) * 2 > len(lines) or any(_YAML_LINE.match(word) for _, word in lines):
        return () if wrong else tuple(chain.from_iterable(filter(None, found)))
    wrongs = (Problem("", f"{shown(word)!r} is not an image", n) for n, word in lines if n in wrong)
    return (*chain.from_iterable(filter(None, found)), *wrongs)


def is_image_list(words: Sequence[str]) -> bool:
    """Whether all words may be entries of an image list, and some look like images."""
    return any(map(_is_likely, words)) and all(map(_parsed, words))


def _is_likely(word: str) -> bool:
    entry = _parsed(word)
    if entry is None:
        return False
    is_plain = isinstance(entry, RemoteEntry) and entry.name == entry.reference
    return not is_plain or likeness.is_likely(word)


def _parsed(word: str) -> RemoteEntry | LocalImage | None:
    try:
        return parse_entry(word)
    except ImagerError:
        return None


def _entry(word: str, spot: Spot) -> tuple[Finding, ...] | None:
    """Return the image of an entry, and the source to pull it from; None if it is not an image."""
    entry, line = _parsed(word), spot.line_of(word)
    if entry is None:
        return None
    if entry.name is None:
        return (Note(spot.path, f"{shown(word)}: {_NO_NAME}", line),)
    image = ImageField(spot.path, str(entry.name), line)
    if isinstance(entry, RemoteEntry) and entry.name == entry.reference:
        return (image,)
    return image, Remark(spot.path, f"{shown(word)}: {_SOURCE}", line)


def reader_of(document: object) -> Callable[[Fields, Spot], Iterator[Finding]] | None:
    """Return the reader for a known tool's document; None for Kubernetes and unknown documents."""
    if not isinstance(document, Mapping):
        return None
    kind, version = text_at(document, "kind"), document.get("apiVersion")
    if kind in _OMNI_KINDS and version is None:
        return _of_omni
    if kind in _ZARF_KINDS:
        return _of_zarf
    if kind:
        return None
    if version in ("v1", "v2") and "name" in document and "version" in document:
        return _of_chart
    if _is_skopeo(document):
        return _of_skopeo
    services = document.get("services")
    if isinstance(services, Mapping) and any(
        "image" in each or "build" in each for each in _mappings(services)
    ):
        return _of_compose
    return None


def list_findings(items: Sequence[object], spot: Spot) -> Iterator[Finding] | None:
    """Return the images of a document that is a list of images; None if it is not."""
    words = [item for item in items if isinstance(item, str)]
    if not words or len(words) < len(items) or not is_image_list(words):
        return None
    found = (_entry(word, spot.at_index(index)) for index, word in enumerate(words))
    return chain.from_iterable(filter(None, found))


def _mappings(value: Fields) -> Iterator[Fields]:
    return (item for item in value.values() if isinstance(item, Mapping))


def _of_omni(document: Fields, spot: Spot) -> Iterator[Finding]:
    """Yield the findings in a cluster template: https://omni.siderolabs.com, Cluster Templates."""
    name = text_at(document, "name")
    identity = f"{text_at(document, 'kind')} {shown(name)}".strip()
    yield from (within(identity, found) for found in _omni_fields(document, spot))


def _omni_fields(document: Fields, spot: Spot) -> Iterator[Finding]:
    release = text_at(document, "talos.version")
    if release:
        version = shown(release)
        why = f"add the images of this release: `imager images default --talos-version {version}`"
        place = spot.at_key(_key(document, "talos")).at_key("version")
        yield Note(place.path, why, place.line)
    if items_at(document, "systemExtensions"):
        place = spot.at_key(_key(document, "systemExtensions"))
        yield Note(place.path, _EXTENSIONS, place.line)
    for key in ("patches", "kubernetes.manifests"):
        for index, patch in enumerate(items_at(document, key)):
            place = spot.at_key(key).at_index(index)
            if isinstance(patch, Mapping):
                yield from _omni_patch(patch, place)
            elif isinstance(patch, str):
                yield Note(place.path, _not_read(patch), place.line_of(patch))
    yield from scan(_without(document, "patches"), spot, Rules())


def _omni_patch(patch: Fields, spot: Spot) -> Iterator[Finding]:
    file = text_at(patch, "file")
    if file:
        line = spot.line_of(patch.get("file"))
        yield Note(spot.at_key("file").path, _not_read(file), line)
    if "inline" in patch:
        place = spot.at_key(_key(patch, "inline"))
        yield Nested(place.path, patch["inline"], place.line)


def _not_read(file: str) -> str:
    return f"{shown(file)} is not read; list it too"


def _of_zarf(document: Fields, spot: Spot) -> Iterator[Finding]:
    """Yield the images of a package: https://docs.zarf.dev/ref/create/, `components[].images`."""
    kind = text_at(document, "kind")
    identity = f"{kind} {shown(text_at(document, 'metadata.name'))}".strip()
    for index, component in enumerate(items_at(document, "components")):
        if items_at(component, "charts") or items_at(component, "manifests"):
            place = spot.at_key(_key(document, "components")).at_index(index)
            why = "its charts and manifests are not read; list the rendered manifests too"
            yield within(identity, Note(place.path, why, place.line))
    for found in scan(document, spot, rules_of("", kind)):
        yield within(identity, found)


def _of_chart(document: Fields, spot: Spot) -> Iterator[Finding]:
    """Yield the images in Chart.yaml's annotations `images` and `artifacthub.io/images`."""
    name = f"chart {shown(text_at(document, 'name'))}"
    yield Note(name, _CHART, spot.line)
    yield from (within(name, found) for found in scan(document, spot, Rules()))


def _of_compose(document: Fields, spot: Spot) -> Iterator[Finding]:
    """Yield the images in a Docker Compose file."""
    services = document["services"]
    if "include" in document:
        place = spot.at_key(_key(document, "include"))
        yield Note(place.path, _INCLUDED, place.line)
    for name, service in services.items() if isinstance(services, Mapping) else ():
        place = spot.at_key("services").at_key(name)
        if isinstance(service, Mapping):
            image = service.get("image")
            if isinstance(image, str):
                yield from known_image(image, place.at_key(_key(service, "image")))
            elif "build" in service:
                built = place.at_key(_key(service, "build"))
                yield Note(built.path, _BUILT, built.line)
            if text_at(service, "extends.file"):
                extended = place.at_key(_key(service, "extends"))
                yield Note(extended.path, _INCLUDED, extended.line)
            yield from scan(_without(service, "image"), place, Rules())


def _is_skopeo(document: Fields) -> bool:
    """Whether a document is for `skopeo sync --src yaml`: registries with their images."""
    return bool(document) and all(
        isinstance(key, str)
        and is_registry(key)
        and isinstance(value, Mapping)
        and any(isinstance(value.get(each), Mapping) for each in ("images", *_SKOPEO_CHOICES))
        for key, value in document.items()
    )


def _of_skopeo(document: Fields, spot: Spot) -> Iterator[Finding]:
    for registry, fields in document.items():
        place = spot.at_key(registry)
        images = value_at(fields, "images")
        for name, tags in images.items() if isinstance(images, Mapping) else ():
            yield from _skopeo_image(f"{registry}/{name}", tags, place.at_key(name))
        for choice in _SKOPEO_CHOICES:
            chosen = value_at(fields, choice)
            for name in chosen if isinstance(chosen, Mapping) else ():
                spot_of_name = place.at_key(name)
                image = f"{registry}/{shown(str(name))}"
                yield Suspect(
                    spot_of_name.path,
                    image,
                    "its tags are selected by a pattern",
                    spot_of_name.line,
                )


def _skopeo_image(name: str, tags: object, spot: Spot) -> Iterator[Finding]:
    words = (
        [str(tag) for tag in tags if isinstance(tag, str | int)] if isinstance(tags, list) else []
    )
    if not words:
        yield Suspect(spot.path, name, "all tags are selected", spot.line)
    for word in words:
        image = f"{name}:{word}" if is_tag(word) else f"{name}@{word}"
        yield ImageField(spot.path, image, spot.line)


def _key(fields: Fields, key: str) -> object:
    """Return the document's own key object, which has its line."""
    return next((each for each in fields if each == key and isinstance(each, Text)), key)


def _without(fields: Fields, key: str) -> Fields:
    return {name: item for name, item in fields.items() if name != key}
