"""Walk a document and find the images in it, and the texts that look like images.

Images are certain by their place: containers, the fields in `image_fields.py`, and keys and options
whose words mean an image. Every other text is tested for whether it looks like an image.

A container is an item of `containers`, `initContainers` or `ephemeralContainers`, at any depth of
any object. That covers all Kubernetes kinds, and custom resources that embed a pod template. The
fields are those of the API reference, core/v1 PodSpec
(https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from imager.discover import likeness
from imager.discover.composed import HAS_VARIABLE, composed, composed_items, kustomized
from imager.discover.encoded import TooLargeError, decoded_text
from imager.discover.findings import Finding, ImageField, Mention, Nested, Note, Remark, Suspect
from imager.discover.image_fields import Rules, names_no_image, says_address, says_image
from imager.discover.location import Location
from imager.discover.manifesttext import origin_of
from imager.discover.textimages import has_variable, in_command
from imager.discover.textimages import within_text as seen_in_text
from imager.support.yamlpaths import shown, text_at, value_at

LOOKS = "it looks like an image; add it if it is pulled"
_IN_SHORT = "it may be the short name of an image; add it if it is pulled"
_TOO_MANY = f"more than {likeness.MOST_IN_TEXT} images are in this text; the rest is not read"
_ISTIO = "`auto` is replaced by Istio's proxy: list that image too"

_CONTAINERS = frozenset({"containers", "initContainers", "ephemeralContainers"})
_OPTION = re.compile(r"(-{0,2}[A-Za-z][\w.-]*)=(\S.*)\s*")
_STRUCTURE = re.compile(r"image|repository|://|kind", re.IGNORECASE)
_BEGINNING = re.compile(r"\s*(?:[{\[]|[\w.-]+:\s)")
_PROSE = re.compile(r"[^\s,;]\s+[^\s,;]")
# A name and its image: `a=acme/a:v1`, `a:acme/a:v1`.
_PAIR = re.compile(r"[=:]")
# Base64, or a `data:` URL of it (RFC 2397).
_ENCODED = re.compile(r"(?:data:[^,\s]*;base64,)?([A-Za-z0-9+/\s]{32,}(?:={1,2}\s*)?)")
TOO_LARGE = "it is compressed and too large to be read: decompress it, and list it"
_AUTO = "auto"


def scan(value: object, location: Location, rules: Rules) -> Iterator[Finding]:
    """Yield the findings in `value`, which is at `location`.

    A document embedded in it is a Nested finding, which the caller must read.
    """
    if names_no_image(location.keys):
        return
    if isinstance(value, Mapping):
        yield from _mapping(value, location, rules)
    elif isinstance(value, list):
        yield from _items(value, location, rules)
    elif isinstance(value, str):
        yield from _text(value, location, rules)


def _mapping(value: Mapping[object, object], location: Location, rules: Rules) -> Iterator[Finding]:
    if location.parent and _is_object(value):
        yield Nested(location.path, value, location.line)
        return
    whole = composed(value, location, versions=rules.version_is_tag)
    yield from whole.findings
    for key, item in value.items():
        place = location.at_key(key)
        if isinstance(key, str) and ":" in key and likeness.is_complete(key):
            yield Suspect(location.path, key, LOOKS, place.line)
        if key in _CONTAINERS and isinstance(item, list):
            for index, entry in enumerate(item):
                yield from _container(entry, place.at_index(index), rules)
        elif key == "volumes" and isinstance(item, list):
            yield from _volumes(item, place, rules)
        elif not (key in whole.keys and isinstance(item, str)):
            yield from scan(item, _renamed(value, key, place), rules)


def _is_object(value: Mapping[object, object]) -> bool:
    is_named = isinstance(value.get("apiVersion"), str) and isinstance(value.get("kind"), str)
    return is_named and not {"metadata", "spec", "data"}.isdisjoint(value)


def _renamed(fields: Mapping[object, object], key: object, place: Location) -> Location:
    """Return the place of a value that another field names, as in variables and JSON patches."""
    if key in ("value", "default") and isinstance(fields.get("name"), str):
        return place.named(fields["name"])
    path = fields.get("path")
    if key == "value" and isinstance(path, str) and "op" in fields:
        return place.named(path.rpartition("/")[2])
    return place


def _items(items: list[object], location: Location, rules: Rules) -> Iterator[Finding]:
    for image in in_command(items):
        if not likeness.is_likely(image):
            yield Suspect(location.path, image, _IN_SHORT, location.line)
    whole = composed_items(items, location)
    yield from whole.findings
    before: object = None
    is_kustomized = rules.kustomized and location.ends_with(*rules.kustomized)
    for index, item in enumerate(items):
        place = location.at_index(index)
        if is_kustomized:
            yield from kustomized(item, place)
        elif text_at(item, "name") in whole.keys:
            continue
        elif isinstance(before, str) and before.startswith("-") and "=" not in before:
            yield from scan(item, place.named(before), rules)
        else:
            yield from scan(item, place, rules)
        before = item


def _container(value: object, location: Location, rules: Rules) -> Iterator[Finding]:
    if not isinstance(value, Mapping):
        return
    for key, item in value.items():
        place = location.at_key(key)
        # A null image is set later by the template's owner: core/v1 Container, field `image`.
        if key == "image":
            yield from _pod_image(item, place, rules)
        else:
            yield from scan(item, place, rules)


def _volumes(items: list[object], location: Location, rules: Rules) -> Iterator[Finding]:
    for index, item in enumerate(items):
        place = location.at_index(index)
        reference = value_at(item, "image.reference")
        if reference is None:
            yield from scan(item, place, rules)
        else:
            yield from _pod_image(reference, place.at_key("image").at_key("reference"), rules)


def _pod_image(value: object, location: Location, rules: Rules) -> Iterator[Finding]:
    line = location.line_of(value)
    if value == _AUTO:
        yield Remark(location.path, _ISTIO, line)
    elif rules.is_builtin:
        yield ImageField(location.path, value, line)
    elif isinstance(value, str):
        yield from known_image(value, location)


def known_image(value: str, location: Location) -> Iterator[Finding]:
    """Yield the image of a field that is defined to hold one; nothing for a pattern."""
    line, image = location.line_of(value), likeness.bare(value.strip())
    if likeness.parsed(image):
        yield ImageField(location.path, image, line)
    elif has_variable(value):
        yield Suspect(location.path, shown(value), HAS_VARIABLE, line)
    elif value and not any(char in value for char in "*?!|<>"):
        yield Suspect(location.path, shown(value), "it is not an image reference", line)


def _text(value: str, location: Location, rules: Rules) -> Iterator[Finding]:
    if rules.images and location.ends_with(*rules.images):
        yield from known_image(value, location)
        return
    option = _OPTION.fullmatch(value)
    name, text = (option[1], _unquoted(option[2])) if option else (location.key, value)
    whole = likeness.whole(text)
    if says_image(name) and (named := _values(text)):
        for each in named:
            yield from _named(each, location, location.line_of(value))
    elif says_address(name) and likeness.is_address(text):
        return
    elif whole:
        yield from _listed(whole, value, location)
    elif encoded := _ENCODED.fullmatch(text):
        yield from _decoded(encoded[1], value, location, rules)
    elif _has_structure(text):
        yield Nested(location.path, text if option else value, location.line_of(value))
    else:
        yield from within_text(value, location)


def _decoded(encoded: str, value: str, location: Location, rules: Rules) -> Iterator[Finding]:
    line = location.line_of(value)
    try:
        text = decoded_text(encoded, line)
    except TooLargeError:
        yield Note(location.path, TOO_LARGE, line)
        return
    if text and not _ENCODED.fullmatch(text):
        yield from _text(text, location, rules)


def _has_structure(text: str) -> bool:
    """Whether a text may be YAML or JSON whose keys name images."""
    return bool(_BEGINNING.match(text) or "\n" in text.strip()) and bool(_STRUCTURE.search(text))


def _unquoted(text: str) -> str:
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if is_quoted else text


def _values(text: str) -> Sequence[str]:
    """Return the values that make up a text: a single one, a list of images, or those in JSON.

    Empty if the text is prose or a document.
    """
    if text.startswith(("{", "[")) and not text.startswith(("{{", "[[")):
        return _json_values(text)
    if has_variable(text):
        return () if "\n" in text.strip() else (text,)
    return (text,) if likeness.is_list(text) or not _PROSE.search(text) else ()


def _json_values(text: str) -> Sequence[str]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    values = list(value.values()) if isinstance(value, dict) else value
    are_texts = all(isinstance(each, str) for each in values)
    return values if are_texts and isinstance(values, list) else ()


def _named(text: str, location: Location, line: int) -> Iterator[Finding]:
    """Yield the images in a text whose key or option means an image."""
    if has_variable(text):
        yield Suspect(location.path, shown(text), HAS_VARIABLE, line)
        return
    for word in filter(None, map(likeness.bare, re.split(r"[\s,;]+", text))):
        if likeness.is_tagged(word):
            yield ImageField(location.path, word, line)
        elif pair := next(filter(likeness.is_likely, _PAIR.split(word, maxsplit=1)[1:]), ""):
            yield Suspect(location.path, pair, LOOKS, line)
        elif not likeness.is_no_image(word):
            yield Suspect(location.path, word, _IN_SHORT, line)


def _listed(
    whole: tuple[likeness.Likeness, ...], value: str, location: Location
) -> Iterator[Finding]:
    """Yield the images in a text of unknown meaning that is a list of them, each with its line."""
    origin = origin_of(value)
    for seen in whole:
        line = origin.line_at(seen.offset) if location.line else 0
        if seen.is_complete:
            yield Mention(location.path, seen.image, line)
        else:
            yield Suspect(location.path, seen.image, LOOKS, line)


def within_text(value: str, location: Location) -> Iterator[Finding]:
    """Yield parts of free text that look like images, each with its line."""
    origin = origin_of(value)
    found = seen_in_text(value)
    for seen in found:
        line = origin.line_at(seen.offset) if location.line else 0
        why = HAS_VARIABLE if seen.has_variable else LOOKS
        yield Suspect(location.path, shown(seen.image), why, line)
    if len(found) == likeness.MOST_IN_TEXT:
        yield Note(location.path, _TOO_MANY, location.line_of(value))
