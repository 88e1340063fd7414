"""Load manifests, keeping the line number of every value.

kubectl reads JSON and YAML. JSON is loaded as YAML too, after its strings are rewritten to
escapes that YAML 1.1 also has (https://www.rfc-editor.org/rfc/rfc8259, section 7).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from imager.support.yamldocs import PARSER_ERRORS, DocumentLoader, located_problem

_JSON_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|\t', re.DOTALL)
# YAML allows longer keys only after a question mark (1.1, section 9.3.2).
_LONGEST_PLAIN_KEY = 1000
_STRING = "tag:yaml.org,2002:str"
_MOST_REPEATED = 100


@dataclass(frozen=True, slots=True)
class Origin:
    """The `line` (from 1) where a text begins in its file; `advances` with its own lines."""

    line: int = 1
    advances: bool = True

    def line_at(self, offset: int) -> int:
        """Return the line in the file of the text's line `offset`, from 0."""
        return self.line + offset if self.advances else self.line


class Text(str):
    """A string of a document that knows where it begins."""

    __slots__ = ("origin",)

    origin: Origin

    def __new__(cls, text: str, origin: Origin) -> Text:
        """Return `text` that begins at `origin`."""
        made = super().__new__(cls, text)
        made.origin = origin
        return made


@dataclass(frozen=True, slots=True)
class RepeatedKey:
    """A key that occurs again in a mapping, at `line`; `dropped` is the earlier value."""

    key: str
    line: int
    dropped: object


@dataclass(frozen=True, slots=True)
class TracedDocument:
    """A document whose strings are Text; a repeated key has its last value."""

    value: object
    line: int
    repeated: tuple[RepeatedKey, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadedText:
    """The documents of a text, up to the first syntax error; `size` is their total size."""

    documents: tuple[TracedDocument, ...]
    size: int
    problem: str = ""
    problem_line: int = 0


def origin_of(text: str) -> Origin:
    """Return where `text` begins in its file."""
    return text.origin if isinstance(text, Text) else Origin()


def line_of(value: object, default: int = 0) -> int:
    """Return the line where `value` begins, or `default` if it does not know."""
    return value.origin.line if isinstance(value, Text) else default


def load_text(text: str) -> LoadedText:
    """Load the YAML stream or JSON document `text`; errors are part of the result.

    If `text` is a Text, lines are those of the file. As in kubectl, a mapping may repeat a key;
    all other limits are those of `imager.support.yamldocs`.
    """
    origin = origin_of(text)
    documents: list[TracedDocument] = []
    size = 0
    try:
        loader = _Loader(_yaml_of(str(text)), origin)  # libyaml rejects subclasses of str
        while loader.check_node():
            documents.append(loader.document())
            size = loader.values
    except PARSER_ERRORS as error:
        line, problem = located_problem(error)
        at = origin.line_at(line - 1) if line else 0
        return LoadedText(tuple(documents), size, problem, at)
    return LoadedText(tuple(documents), size)


class _Loader(DocumentLoader):
    def __init__(self, text: str, origin: Origin) -> None:
        DocumentLoader.__init__(self, text)
        self._origin = origin
        self._repeated: list[tuple[str, int, yaml.Node]] = []

    def document(self) -> TracedDocument:
        """Return the next document."""
        self._repeated = []
        root: Any = self.get_node()
        value = self.construct_document(root)
        repeated = tuple(
            RepeatedKey(key, line, self.construct_document(dropped))
            for key, line, dropped in self._repeated
        )
        return TracedDocument(value, self._line(root), repeated)

    def on_repeated_key(self, mapping: yaml.MappingNode, key: yaml.Node) -> None:
        """Record the key and its earlier value, up to a maximum number of keys."""
        if len(self._repeated) == _MOST_REPEATED:
            return
        earlier = [value for each, value in mapping.value if each.value == key.value]
        line = self._line(key)
        if (key.value, line) not in ((name, at) for name, at, _ in self._repeated):
            self._repeated.append((key.value, line, earlier[0]))

    def construct_text(self, node: Any) -> Text:
        """Return the string of a scalar."""
        line = self._line(node)
        is_block = node.style == "|"
        origin = Origin(line + is_block, is_block and self._origin.advances)
        return Text(node.value, origin)

    def _line(self, node: yaml.Node) -> int:
        mark: Any = node.start_mark
        return self._origin.line_at(mark.line)


_Loader.add_constructor(_STRING, _Loader.construct_text)


def _yaml_of(text: str) -> str:
    """Return YAML with the values of `text` on the same lines."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    documents = _json_documents(text)
    # `--- ` begins a document, even if the previous one is on the same line.
    return "\n--- ".join(_JSON_TOKEN.sub(_yaml_token, each) for each in documents) or text


def _json_documents(text: str) -> Sequence[str]:
    """Split `text` into concatenated JSON documents, as kubectl does.

    Empty if it is not JSON. The line break between two documents is dropped.
    """
    decoder = json.JSONDecoder()
    documents: list[str] = []
    start = 0
    while rest := text[start:].lstrip():
        begin = len(text) - len(rest)
        try:
            _, end = decoder.raw_decode(text, begin)
        except (ValueError, RecursionError):
            return ()
        before = text[start:begin]
        documents.append((before.replace("\n", "", 1) if documents else before) + text[begin:end])
        start = end
    return documents


def _yaml_token(match: re.Match[str]) -> str:
    string, colon = match[1], match[2] or ""
    if not string:
        return " "
    if "\\" in string or not string.isprintable():
        string = '"' + "".join(map(_escaped, json.loads(string))) + '"'
    return f"? {string}{colon}" if colon and len(string) > _LONGEST_PLAIN_KEY else string + colon


def _escaped(char: str) -> str:
    if "\ud800" <= char <= "\udfff":  # an unpaired surrogate
        return "\N{REPLACEMENT CHARACTER}"
    if char in '"\\':
        return f"\\{char}"
    return char if char.isprintable() else f"\\U{ord(char):08x}"
