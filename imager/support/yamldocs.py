"""YAML from strangers: read with limits, a key given twice refused, aliases of bounded size.

PyYAML reads YAML 1.1. `CheckedComposer` is what any of its loaders needs to be safe to use;
`load_documents` reads the streams of documents that Kubernetes and Talos take, and
`load_located` reads them with the line of each part.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.composer import Composer, ComposerError
from yaml.resolver import Resolver

from imager.support.errors import InputError

MOST_VALUES = 1_000_000
DEEPEST = 128
_CHARACTERS_PER_VALUE = 64

# PyYAML lets through what its conversions of numbers, dates and tagged values raise.
PARSER_ERRORS = (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError)

# Kubernetes reads YAML as JSON, which has no dates, and where `=` is a string like others:
# CRDs of Prometheus have it in an enum.
_STRINGS_TO_KUBERNETES = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value")
_RESOLVERS = {
    first: [each for each in resolvers if each[0] not in _STRINGS_TO_KUBERNETES]
    for first, resolvers in Resolver.yaml_implicit_resolvers.items()
}
_LONGEST_PROBLEM = 160
_NULL_TAG = "tag:yaml.org,2002:null"
# An escape in double quotes; one of a line break stands for nothing.
_ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|\n[ \t]*|.)", re.DOTALL)
# A step of a path: a key, or the number of an item.
_STEP = re.compile(r"[^.\[\]]+")


class CheckedComposer(Composer):
    """Refuses what nests too deeply, holds too much, or has a key twice or of several words.

    An alias counts as all that it stands for, so that what walks the data is bounded too.
    """

    def __init__(self) -> None:
        Composer.__init__(self)  # what stands next in a loader's order is not the composer
        self._depth = 0
        self._values = 0
        self._anchored: dict[str, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node, or find the one that an alias names; raises ComposerError."""
        parser: Any = self  # PyYAML's types lack peek_event
        event = parser.peek_event()
        is_alias = isinstance(event, yaml.events.AliasEvent)
        before = self._values
        if not is_alias:
            self._anchored.pop(event.anchor, None)
        self._depth += 1
        if self._depth > DEEPEST:
            raise _error(f"nests deeper than {DEEPEST} levels", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        self._values += self._size_of(event) if is_alias else _weight(event)
        if self._values > MOST_VALUES:
            raise _error(f"has more than {MOST_VALUES} values with its aliases expanded", event)
        if event.anchor and not is_alias:
            self._anchored[event.anchor] = self._values - before
        return node

    def _size_of(self, alias: yaml.events.AliasEvent) -> int:
        size = self._anchored.get(alias.anchor or "")
        if size is None:
            raise _error(f"alias {alias.anchor!r} is inside what it stands for", alias)
        return size

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        """Compose a mapping; raises ComposerError for a key that is not a scalar, or not new."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key.value, str):
                raise _error("a key must be one word", key)
            if key.value in seen:
                self.on_repeated_key(node, key)
            seen.add(key.value)
        return node

    def on_repeated_key(self, mapping: yaml.MappingNode, key: yaml.Node) -> None:  # noqa: ARG002
        """Handle a `key` that `mapping` has twice; raises ComposerError."""
        raise _error(f"key {key.value!r} is given twice", key)

    @property
    def values(self) -> int:
        """The number of values so far, aliases expanded."""
        return self._values


def _weight(event: Any) -> int:
    """Return what an event counts: a long text counts as several values."""
    return 1 + len(getattr(event, "value", None) or "") // _CHARACTERS_PER_VALUE


def _error(problem: str, where: yaml.Node | yaml.Event) -> ComposerError:
    mark: Any = where.start_mark  # libyaml's own class has the same fields
    return ComposerError(None, None, problem, mark)


class DocumentLoader(CheckedComposer, yaml.CSafeLoader):
    """libyaml's parser, six times as fast as PyYAML's own: bundles of CRDs have megabytes."""

    def __init__(self, text: str) -> None:
        yaml.CSafeLoader.__init__(self, text)
        CheckedComposer.__init__(self)
        self.yaml_implicit_resolvers = _RESOLVERS


def yaml_problem(error: Exception) -> str:
    """Return one line that tells what one of PARSER_ERRORS is, with the line where it is known."""
    line, problem = located_problem(error)
    return f"line {line}: {problem}" if line else problem


def located_problem(error: Exception) -> tuple[int, str]:
    """Return the line, from 1, of one of PARSER_ERRORS (0 if unknown), and what is wrong."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        return (mark.line + 1 if mark else 0), _short(error.problem or "")
    return 0, f"not YAML: {_short(str(error))}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_PROBLEM else f"{line[:_LONGEST_PROBLEM]}..."


def load_documents(text: str) -> Sequence[object]:
    """Return the documents of `text`: JSON (RFC 8259), or YAML, where they may be several.

    As kubectl does, what starts with a brace is taken for JSON first. As with its strict
    validation, a key that stands twice in a mapping is an error: it may name two images.
    Raises InputError, with the line and what is wrong, but not the file, which is the caller's.
    """
    if text.lstrip().startswith("{"):
        try:
            return (json.loads(text, object_pairs_hook=_unique),)
        except (ValueError, RecursionError):
            pass  # flow YAML, or an error that YAML's parser tells with its line
    try:
        # A CSafeLoader with fewer abilities.
        return tuple(yaml.load_all(text, Loader=DocumentLoader))
    except PARSER_ERRORS as error:
        raise InputError(yaml_problem(error)) from error


def _unique(pairs: Sequence[tuple[str, object]]) -> Mapping[str, object]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return values


@dataclass(frozen=True, slots=True)
class LocatedDocument:
    """The value of a document, and where in the text its parts stand.

    A path is of keys, and of numbers of items: `machine.pods[0].spec`.
    """

    value: object
    root: yaml.Node
    text: str

    def line(self, path: str = "") -> int:
        """Return the line, from 1, of what stands at `path`, or of what of the path there is."""
        named = [self.root, *(named for _, named in self._walk(path))]
        mark: Any = named[-1].start_mark
        return int(mark.line) + 1

    def written(self, path: str) -> str | None:
        """Return the scalar at `path` as it is written, None for none: `0x10` is not 16 here."""
        steps = list(self._walk(path))
        if len(steps) != len(_STEP.findall(path)):
            return None
        node = steps[-1][0] if steps else self.root
        return node.value if isinstance(node, yaml.ScalarNode) and node.tag != _NULL_TAG else None

    def place(self, path: str, offset: int) -> tuple[int, int]:
        """Return line and column, from 1, of the character at `offset` of the scalar at `path`.

        It is found in quotes, behind escapes, and in blocks and folded lines too.
        """
        node: Any = [self.root, *(node for node, _ in self._walk(path))][-1]
        source = self.text[node.start_mark.index : node.end_mark.index]
        index = node.start_mark.index
        if isinstance(node, yaml.ScalarNode):
            index += _source_offset(source, node.value, node.style or "", offset)
        return self.text.count("\n", 0, index) + 1, index - self.text.rfind("\n", 0, index)

    def _walk(self, path: str) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """Yield the node of each step that is there, and the one that tells its line: the key."""
        node = self.root
        for step in _STEP.findall(path):
            found = _child(node, step)
            if found is None:
                return
            node, named = found
            yield node, named


def _child(node: yaml.Node, step: str) -> tuple[yaml.Node, yaml.Node] | None:
    """Return the part of a node that a step leads to, and the node that tells its line."""
    if isinstance(node, yaml.MappingNode):
        # A mapping's own keys stand after those that are merged into it.
        return next(
            ((value, key) for key, value in reversed(node.value) if key.value == step), None
        )
    if isinstance(node, yaml.SequenceNode) and step.isdecimal() and int(step) < len(node.value):
        item = node.value[int(step)]
        return item, item
    return None


def _source_offset(source: str, value: str, style: str, offset: int) -> int:
    """Return where in the `source` of a scalar the character at `offset` of its `value` is."""
    position = source.find("\n") + 1 if style in ("|", ">") else len(style)
    for char in value[:offset]:
        _, position = _source_of(source, position, char, style)
    return _source_of(source, position, value[offset], style)[0] if value[offset:] else position


def _source_of(source: str, position: int, char: str, style: str) -> tuple[int, int]:
    """Return begin and end of the `source` of a value's next character, from `position` on."""
    while position < len(source):
        match = _ESCAPE.match(source, position) if style == '"' else None
        if match:
            if "\n" not in match[0]:
                return match.span()
            position = match.end()
        elif source[position] == char or (source[position] == "\n" and char == " "):
            return position, position + 1
        else:
            position += 1
    return position, position


def load_located(text: str) -> tuple[LocatedDocument, ...]:
    """Return the documents of the YAML stream `text`, each with its lines.

    What is refused, and what is raised, are as with `load_documents`.
    """
    try:
        loader = DocumentLoader(text)
        documents = []
        while loader.check_node():
            root: Any = loader.get_node()
            # Merged keys are put into the nodes here.
            documents.append(LocatedDocument(loader.construct_document(root), root, text))
    except PARSER_ERRORS as error:
        raise InputError(yaml_problem(error)) from error
    return tuple(documents)
