"""Find the images in image lists, and in files of tools other than Kubernetes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain

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
from imager.discover.image_fields import Rules, rules_of
from imager.discover.location import Location
from imager.discover.scan import known_image, scan
from imager.oci.local import LocalImage, RemoteEntry, parse_entry
from imager.oci.reference import is_registry, is_tag
from imager.support.errors import ImagerError
from imager.support.inputs import list_lines
from imager.support.yamlpaths import fields_at, items_at, shown, text_at

_OMNI_KINDS = frozenset({"Cluster", "ControlPlane", "Workers", "Machine"})
_ZARF_KINDS = frozenset({"ZarfPackageConfig", "ZarfInitConfig"})
_CHART = "a Helm chart: list the output of `helm template` too"
_EXTENSIONS = (
    "Omni puts system extensions into an installer of an image factory; "
    "add that installer to the list"
)
_BUILT = "its image is built from source: add it by the name that you push it under"
_UNREAD = "its charts and manifests are not read; list the rendered manifests too"
_INCLUDED = "it includes another file: list that too"
_PATTERN = "its tags are selected by a pattern"
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
    found = [_entry(word, Location(line=line)) for line, word in lines]
    wrong = [line for each, (line, _) in zip(found, lines, strict=True) if each is None]
    if len(wrong) * 2 > len(lines) or any(_YAML_LINE.match(word) for _, word in lines):
        return () if wrong else tuple(chain.from_iterable(filter(None, found)))
    wrongs = (Problem("", f"{shown(word)!r} is not an image", n) for n, word in lines if n in wrong)
    return (*chain.from_iterable(filter(None, found)), *wrongs)


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


def _entry(word: str, location: Location) -> tuple[Finding, ...] | None:
    """Return the image of an entry, and the source to pull it from; None if it is not an image."""
    entry, line = _parsed(word), location.line_of(word)
    if entry is None:
        return None
    if entry.name is None:
        return (Note(location.path, f"{shown(word)}: {_NO_NAME}", line),)
    image = ImageField(location.path, str(entry.name), line)
    if isinstance(entry, RemoteEntry) and entry.name == entry.reference:
        return (image,)
    return image, Remark(location.path, f"{shown(word)}: {_SOURCE}", line)


def reader_of(document: object) -> Callable[[Fields, Location], Iterator[Finding]] | None:
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
    services = fields_at(document, "services").values()
    parts = [each for each in services if isinstance(each, Mapping)]
    return _of_compose if any("image" in each or "build" in each for each in parts) else None


def list_findings(items: Sequence[object], location: Location) -> Iterator[Finding] | None:
    """Return the images of a document that is a list of images; None if it is not."""
    words = [item for item in items if isinstance(item, str)]
    is_list = len(words) == len(items) and any(map(_is_likely, words)) and all(map(_parsed, words))
    if not is_list:
        return None
    found = (_entry(word, location.at_index(index)) for index, word in enumerate(words))
    return chain.from_iterable(filter(None, found))


def _of_omni(document: Fields, location: Location) -> Iterator[Finding]:
    """Yield the findings in a cluster template: https://omni.siderolabs.com, Cluster Templates."""
    name = text_at(document, "name")
    identity = f"{text_at(document, 'kind')} {shown(name)}".strip()
    yield from (within(identity, found) for found in _omni_fields(document, location))


def _omni_fields(document: Fields, location: Location) -> Iterator[Finding]:
    release = text_at(document, "talos.version")
    if release:
        version = shown(release)
        why = f"add the images of this release: `imager images default --talos-version {version}`"
        yield _note(_at(location, document, "talos").at_key("version"), why)
    if items_at(document, "systemExtensions"):
        yield _note(_at(location, document, "systemExtensions"), _EXTENSIONS)
    for key in ("patches", "kubernetes.manifests"):
        for index, patch in enumerate(items_at(document, key)):
            place = location.at_key(key).at_index(index)
            if isinstance(patch, Mapping):
                yield from _omni_patch(patch, place)
            elif isinstance(patch, str):
                yield Note(place.path, _not_read(patch), place.line_of(patch))
    yield from scan(_without(document, "patches"), location, Rules())


def _omni_patch(patch: Fields, location: Location) -> Iterator[Finding]:
    file = text_at(patch, "file")
    if file:
        yield _note(location.at_value(patch, "file"), _not_read(file))
    if "inline" in patch:
        place = _at(location, patch, "inline")
        yield Nested(place.path, patch["inline"], place.line)


def _not_read(file: str) -> str:
    return f"{shown(file)} is not read; list it too"


def _of_zarf(document: Fields, location: Location) -> Iterator[Finding]:
    """Yield the images of a package: https://docs.zarf.dev/ref/create/, `components[].images`."""
    kind = text_at(document, "kind")
    identity = f"{kind} {shown(text_at(document, 'metadata.name'))}".strip()
    for index, component in enumerate(items_at(document, "components")):
        if items_at(component, "charts") or items_at(component, "manifests"):
            place = _at(location, document, "components").at_index(index)
            yield within(identity, _note(place, _UNREAD))
    for found in scan(document, location, rules_of("", kind)):
        yield within(identity, found)


def _of_chart(document: Fields, location: Location) -> Iterator[Finding]:
    """Yield the images in Chart.yaml's annotations `images` and `artifacthub.io/images`."""
    name = f"chart {shown(text_at(document, 'name'))}"
    yield Note(name, _CHART, location.line)
    yield from (within(name, found) for found in scan(document, location, Rules()))


def _of_compose(document: Fields, location: Location) -> Iterator[Finding]:
    """Yield the images in a Docker Compose file."""
    if "include" in document:
        yield _note(_at(location, document, "include"), _INCLUDED)
    for name, service in fields_at(document, "services").items():
        place = location.at_key("services").at_key(name)
        if isinstance(service, Mapping):
            image = service.get("image")
            if isinstance(image, str):
                yield from known_image(image, _at(place, service, "image"))
            elif "build" in service:
                yield _note(_at(place, service, "build"), _BUILT)
            if text_at(service, "extends.file"):
                yield _note(_at(place, service, "extends"), _INCLUDED)
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


def _of_skopeo(document: Fields, location: Location) -> Iterator[Finding]:
    for registry, fields in document.items():
        place = location.at_key(registry)
        for name, tags in fields_at(fields, "images").items():
            yield from _skopeo_image(f"{registry}/{name}", tags, place.at_key(name))
        for choice in _SKOPEO_CHOICES:
            for name in fields_at(fields, choice):
                chosen = place.at_key(name)
                yield Suspect(chosen.path, f"{registry}/{shown(str(name))}", _PATTERN, chosen.line)


def _skopeo_image(name: str, tags: object, location: Location) -> Iterator[Finding]:
    listed = tags if isinstance(tags, list) else []
    words = [str(tag) for tag in listed if isinstance(tag, str | int)]
    if not words:
        yield Suspect(location.path, name, "all tags are selected", location.line)
    for word in words:
        image = f"{name}:{word}" if is_tag(word) else f"{name}@{word}"
        yield ImageField(location.path, image, location.line)


def _at(location: Location, fields: Fields, key: str) -> Location:
    """Return the place of `key` in `fields`, with the line of the document's own key."""
    return location.at_key(next((each for each in fields if each == key), key))


def _note(place: Location, text: str) -> Note:
    return Note(place.path, text, place.line)


def _without(fields: Fields, key: str) -> Fields:
    return {name: item for name, item in fields.items() if name != key}
