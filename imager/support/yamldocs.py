"""Read untrusted YAML: with limits, without duplicate keys, and with bounded aliases.

PyYAML reads YAML 1.1. `CheckedComposer` makes any of its loaders safe to use; `load_documents`
reads document streams as Kubernetes and Talos do, and `load_located` also records the line of
each part.
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
from imager.support.screen import one_line
from imager.support.yamlpaths import STEP

MOST_VALUES = 1_000_000
DEEPEST = 128
_CHARACTERS_PER_VALUE = 64

# PyYAML does not wrap the exceptions of its conversions of numbers, dates and tagged values.
PARSER_ERRORS = (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError)

# Kubernetes converts YAML to JSON, which has no dates, and treats `=` as a plain string:
# Prometheus's CRDs have it in an enum.
_STRINGS_TO_KUBERNETES = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value")
_RESOLVERS = {
    first: [each for each in resolvers if each[0] not in _STRINGS_TO_KUBERNETES]
    for first, resolvers in Resolver.yaml_implicit_resolvers.items()
}
_LONGEST_PROBLEM = 160
_NULL_TAG = "tag:yaml.org,2002:null"
# An escape in double quotes; an escaped line break produces no character.
_ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|\n[ \t]*|.)", re.DOTALL)


class CheckedComposer(Composer):
    """Rejects excessive depth or size, duplicate keys, and keys that are not scalars.

    `values` is the number of values so far. An alias counts as its expanded size, so that walking
    the data is bounded too.
    """

    def __init__(self) -> None:
        Composer.__init__(self)  # super() would call the next class of the loader's MRO
        self._depth = 0
        self.values = 0
        self._anchored: dict[str, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node, or resolve an alias; raises ComposerError."""
        parser: Any = self  # PyYAML's types lack peek_event
        event = parser.peek_event()
        is_alias = isinstance(event, yaml.events.AliasEvent)
        before = self.values
        if not is_alias:
            self._anchored.pop(event.anchor, None)
        self._depth += 1
        if self._depth > DEEPEST:
            raise _error(f"nests deeper than {DEEPEST} levels", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        self.values += self._size_of(event) if is_alias else _weight(event)
        if self.values > MOST_VALUES:
            raise _error(f"has more than {MOST_VALUES} values with its aliases expanded", event)
        if event.anchor and not is_alias:
            self._anchored[event.anchor] = self.values - before
        return node

    def _size_of(self, alias: yaml.events.AliasEvent) -> int:
        size = self._anchored.get(alias.anchor or "")
        if size is None:
            raise _error(f"alias {alias.anchor!r} is inside its own anchor", alias)
        return size

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        """Compose a mapping; raises ComposerError for a duplicate or non-scalar key."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key.value, str):
                raise _error("a key must be a scalar", key)
            if key.value in seen:
                self.on_repeated_key(node, key)
            seen.add(key.value)
        return node

    def on_repeated_key(self, mapping: yaml.MappingNode, key: yaml.Node) -> None:  # noqa: ARG002
        """Handle a duplicate `key` of `mapping`; raises ComposerError."""
        raise _error(f"key {key.value!r} is given twice", key)


def _weight(event: Any) -> int:
    """Return the weight of an event: a long text counts as several values."""
    return 1 + len(getattr(event, "value", None) or "") // _CHARACTERS_PER_VALUE


def _error(problem: str, where: yaml.Node | yaml.Event) -> ComposerError:
    mark: Any = where.start_mark  # libyaml's own class has the same attributes
    return ComposerError(None, None, problem, mark)


class DocumentLoader(CheckedComposer, yaml.CSafeLoader):
    """A loader on libyaml's parser, six times as fast as PyYAML's: CRD bundles have megabytes."""

    def __init__(self, text: str) -> None:
        yaml.CSafeLoader.__init__(self, text)
        CheckedComposer.__init__(self)
        self.yaml_implicit_resolvers = _RESOLVERS


def yaml_problem(error: Exception) -> str:
    """Return a one-line description of one of PARSER_ERRORS, with its line if known."""
    line, problem = located_problem(error)
    return f"line {line}: {problem}" if line else problem


def located_problem(error: Exception) -> tuple[int, str]:
    """Return the line (from 1; 0 if unknown) and the description of one of PARSER_ERRORS."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        return (mark.line + 1 if mark else 0), one_line(error.problem or "", _LONGEST_PROBLEM)
    return 0, f"not YAML: {one_line(str(error), _LONGEST_PROBLEM)}"


def load_documents(text: str) -> Sequence[object]:
    """Return the documents of `text`: one in JSON (RFC 8259), or one or more in YAML.

    Like kubectl, it tries JSON first if the text starts with a brace. Like kubectl's strict
    validation, it treats a duplicate key as an error: it may name two images. Raises InputError
    with the line and the problem; the caller adds the file name.
    """
    if text.lstrip().startswith("{"):
        try:
            return (json.loads(text, object_pairs_hook=_unique),)
        except (ValueError, RecursionError):
            pass  # flow YAML, or an error that the YAML parser reports with its line
    try:
        # A restricted CSafeLoader.
        return tuple(yaml.load_all(text, Loader=DocumentLoader))
    except PARSER_ERRORS as error:
        raise InputError(yaml_problem(error)) from error


def _unique(pairs: Sequence[tuple[str, object]]) -> Mapping[str, object]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("an object has a duplicate key")
    return values


@dataclass(frozen=True, slots=True)
class LocatedDocument:
    """The value of a document, and the positions of its parts in the text.

    A path consists of keys and item indices: `machine.pods[0].spec`.
    """

    value: object
    root: yaml.Node
    text: str

    def line(self, path: str = "") -> int:
        """Return the line (from 1) of the value at `path`, or of its deepest existing parent."""
        named = [self.root, *(named for _, named in self._walk(path))]
        mark: Any = named[-1].start_mark
        return int(mark.line) + 1

    def written(self, path: str) -> str | None:
        """Return the scalar at `path` as written, or None: `0x10` is not converted to 16."""
        steps = list(self._walk(path))
        if len(steps) != len(STEP.findall(path)):
            return None
        node = steps[-1][0] if steps else self.root
        return node.value if isinstance(node, yaml.ScalarNode) and node.tag != _NULL_TAG else None

    def place(self, path: str, offset: int) -> tuple[int, int]:
        """Return line and column (from 1) of the character at `offset` of the scalar at `path`.

        Supports quoted, escaped, block and folded scalars.
        """
        node: Any = [self.root, *(node for node, _ in self._walk(path))][-1]
        source = self.text[node.start_mark.index : node.end_mark.index]
        index = node.start_mark.index
        if isinstance(node, yaml.ScalarNode):
            index += _source_offset(source, node.value, node.style or "", offset)
        return self.text.count("\n", 0, index) + 1, index - self.text.rfind("\n", 0, index)

    def _walk(self, path: str) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """Yield, for each existing step, its node and the node that has its line: the key."""
        node = self.root
        for step in STEP.findall(path):
            found = _child(node, step)
            if found is None:
                return
            node, named = found
            yield node, named


def _child(node: yaml.Node, step: str) -> tuple[yaml.Node, yaml.Node] | None:
    """Return the child of a node for a step, and the node that has its line."""
    if isinstance(node, yaml.MappingNode):
        # A mapping's own keys follow those merged into it.
        return next(
            ((value, key) for key, value in reversed(node.value) if key.value == step), None
        )
    if isinstance(node, yaml.SequenceNode) and step.isdecimal() and int(step) < len(node.value):
        item = node.value[int(step)]
        return item, item
    return None


def _source_offset(source: str, value: str, style: str, offset: int) -> int:
    """Return the offset in `source`, a scalar as written, of the character `offset` of `value`."""
    position = source.find("\n") + 1 if style in ("|", ">") else len(style)
    for char in value[:offset]:
        _, position = _source_of(source, position, char, style)
    return _source_of(source, position, value[offset], style)[0] if value[offset:] else position


def _source_of(source: str, position: int, char: str, style: str) -> tuple[int, int]:
    """Return start and end in `source` of the value's next character, from `position` on."""
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
    """Return the documents of the YAML stream `text`, each with line numbers.

    Limits and errors are those of `load_documents`.
    """
    try:
        loader = DocumentLoader(text)
        documents = []
        while loader.check_node():
            root: Any = loader.get_node()
            # construct_document resolves merge keys in these nodes.
            documents.append(LocatedDocument(loader.construct_document(root), root, text))
    except PARSER_ERRORS as error:
        raise InputError(yaml_problem(error)) from error
    return tuple(documents)
