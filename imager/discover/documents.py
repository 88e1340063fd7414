"""Find the images in the text of a file, and in documents embedded in its values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from imager.discover.findings import Finding, ImageField, Nested, Note, Problem, Suspect, within
from imager.discover.image_fields import Rules
from imager.discover.likeness import parsed
from imager.discover.location import Location
from imager.discover.manifesttext import Origin, RepeatedKey, Text, TracedDocument, load_text
from imager.discover.objects import load_problems, object_findings, repeated, unsure
from imager.discover.otherfiles import line_list, list_findings, reader_of
from imager.discover.scan import LOOKS, scan, within_text
from imager.discover.talos_config import machine_findings
from imager.support.yamlpaths import shown, text_at
from imager.talos.config.identity import is_machine_config

_DEEPEST = 4
_MOST_NESTED_VALUES = 500_000
_EMPTY = "empty: it contains no document"
_DROPPED = "a later value of the same key replaces it"
_TOO_MANY = "too many documents nested in texts: the rest is not read"
# Comments, a document start or a template condition, then the first key.
_MANIFEST = re.compile(r"(?:[ \t]*(?:#.*|---.*|\{\{.*)?\n)*[ \t]*(?:apiVersion|kind):\s")
_BROKEN = "it looks like a manifest, but is not YAML: check which images it needs"
_BROKEN_TEMPLATE = "it is the template of a manifest: list what it is rendered to"
_NOT_IN_FIELD = "it is not an image reference"


def text_findings(text: str) -> Iterator[Finding]:
    """Yield the findings in a file's text: manifests, machine configurations, or a list."""
    yield from _expanded(_of_file(text), _Budget(_MOST_NESTED_VALUES), depth=0)


def _of_file(text: str) -> Iterator[Finding]:
    lines = line_list(text)
    if lines:
        yield from lines
        return
    loaded = load_text(text)
    yield from load_problems(loaded, text)
    if not loaded.problem and all(each.value is None for each in loaded.documents):
        yield Note("", _EMPTY, 1)
    for number, document in enumerate(loaded.documents, start=1):
        yield from _of_document(document, number)


def _of_document(document: TracedDocument, number: int) -> Iterator[Finding]:
    value, location = document.value, Location(line=document.line)
    is_strict = is_machine_config(value)
    for key in document.repeated:
        yield from _of_repeated(key, is_strict=is_strict)
    reader = reader_of(value)
    images = list_findings(value, location) if isinstance(value, list) else None
    if is_strict:
        yield from machine_findings(value, location)
    elif reader and isinstance(value, Mapping):
        yield from reader(value, location)
    elif images is not None:
        yield from images
    else:
        yield from object_findings(value, number=number, location=location)


def _of_repeated(key: RepeatedKey, *, is_strict: bool) -> Iterator[Finding]:
    """Report a duplicate key: kubectl uses the last value, Talos rejects the document."""
    if is_strict:
        yield Problem("", f"key {shown(key.key)!r} is given twice", key.line)
        return
    yield repeated(key)
    place = Location(line=key.line).at_key(key.key)
    yield from (unsure(each, _DROPPED) for each in scan(key.dropped, place, Rules()))


@dataclass(slots=True)
class _Budget:
    """The number of values in nested documents that may still be read."""

    values: int


def _expanded(findings: Iterable[Finding], budget: _Budget, *, depth: int) -> Iterator[Finding]:
    """Yield the findings, replacing each nested document with its own findings."""
    for found in findings:
        if not isinstance(found, Nested):
            yield found
        elif depth == _DEEPEST or budget.values <= 0:
            yield Note(found.where, _TOO_MANY, found.line)
        else:
            for each in _expanded(_of_nested(found, budget), budget, depth=depth + 1):
                inner = _lenient(within(found.where, each))
                yield unsure(inner, found.doubt) if found.doubt else inner


def _of_nested(nested: Nested, budget: _Budget) -> Iterator[Finding]:
    """Yield the images of a nested document, or text in it that looks like an image."""
    content, location = nested.content, Location(line=nested.line)
    if not isinstance(content, str):
        yield from _of_value(content, location)
        return
    if not isinstance(content, Text):
        content = Text(content, Origin(nested.line, advances=False))
    loaded = load_text(content)
    budget.values -= loaded.size
    values = [each.value for each in loaded.documents if each.value is not None]
    if loaded.problem or not all(isinstance(each, Mapping | list) for each in values):
        if loaded.problem and _is_manifest(content):
            yield Note("", _BROKEN_TEMPLATE if "{{" in content else _BROKEN, loaded.problem_line)
        yield from within_text(content, location)
        return
    for document in loaded.documents:
        yield from _of_value(document.value, Location(line=document.line if nested.line else 0))


def _is_manifest(text: str) -> bool:
    """Whether text that does not parse, such as a template, begins like a Kubernetes object."""
    return bool(_MANIFEST.match(text)) and "kind:" in text


def _of_value(value: object, location: Location) -> Iterator[Finding]:
    if is_machine_config(value):
        yield from machine_findings(value, location)
    elif text_at(value, "kind"):
        yield from object_findings(value, number=1, location=location)
    elif isinstance(value, list) and (images := list_findings(value, location)) is not None:
        yield from (unsure(found, LOOKS) for found in images)
    else:
        yield from scan(value, location, Rules())


def _lenient(found: Finding) -> Finding:
    """Downgrade an error in a nested document to a Note or Suspect: the text may be unused."""
    match found:
        case ImageField(where, value, line) if not (isinstance(value, str) and parsed(value)):
            if not isinstance(value, str):
                return Note(where, _NOT_IN_FIELD, line)
            return Suspect(where, value, _NOT_IN_FIELD, line)
        case Problem(where, text, line):
            return Note(where, text, line)
        case _:
            return found
