"""The functions of CEL expressions, the fields of a disk, and the items of lists."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from imager.machineconfig.disk import Disk
from imager.machineconfig.lexer import ExpressionError
from imager.machineconfig.terms import (
    BOOL,
    INT,
    STRING,
    UINT,
    Bindings,
    Term,
    article,
    converted,
    element_of,
    list_of,
    term,
)

DISK = "disk"
_TYPES = {"str": STRING, "int": UINT, "bool": BOOL, "tuple[str, ...]": list_of(STRING)}
_FIELDS = {each.name: _TYPES[str(each.type)] for each in fields(Disk)}
_METHODS: Mapping[str, Callable[[str, str], bool]] = {
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": str.__contains__,
}
_NO_REGULAR_EXPRESSIONS = "matches() is not supported here: use startsWith, contains or glob"


def called(name: str, arguments: Sequence[Term], column: int) -> Term:
    """Return the call of a function; raises ExpressionError."""
    match name, arguments:
        case "glob", [pattern, text] if pattern.type == text.type == STRING:
            return _of_two(_glob, pattern, text, column)
        case "size", [part]:
            return _size(part, column)
        case (("int" | "uint" | "double"), [part]):
            return converted(name, part, column)
    raise _no_function(name, arguments, column)


def called_on(parsed: Term, name: str, arguments: Sequence[Term], column: int) -> Term:
    """Return the call of a method of `parsed`; raises ExpressionError."""
    match arguments:
        case [] if name == "size":
            return _size(parsed, column)
        case [argument] if name in _METHODS and parsed.type == argument.type == STRING:
            return _of_two(_METHODS[name], parsed, argument, column)
    raise _no_function(name, [parsed, *arguments], column)


def item_of(parsed: Term, index: Term, column: int) -> Term:
    """Return the item of a list at `index`, from 0; raises ExpressionError."""
    element = element_of(parsed.type)
    if not element:
        raise ExpressionError(f"{article(parsed.type)} has no items", column=column)
    index.require(INT)

    def evaluate(bindings: Bindings) -> Any:
        items, number = parsed.evaluate(bindings), index.evaluate(bindings)
        if not 0 <= number < len(items):
            raise ExpressionError(f"the list has no item {number}", column=column)
        return items[number]

    return term(element, column, evaluate, [parsed, index])


def field_of(parsed: Term, name: str, column: int) -> Term:
    """Return the field `name` of a disk; raises ExpressionError."""
    if parsed.type != DISK:
        raise ExpressionError(f"{article(parsed.type)} has no field {name}", column=column)
    if name not in _FIELDS:
        close = difflib.get_close_matches(name, _FIELDS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(_FIELDS)}"
        raise ExpressionError(f"a disk has no field {name}: {hint}", column=column)
    return term(
        _FIELDS[name], column, lambda bindings: getattr(parsed.evaluate(bindings), name), [parsed]
    )


def _size(part: Term, column: int) -> Term:
    if part.type != STRING and not element_of(part.type):
        raise _no_function("size", [part], column)
    return term(INT, column, lambda bindings: len(part.evaluate(bindings)), [part])


def _of_two(function: Callable[[str, str], bool], one: Term, two: Term, column: int) -> Term:
    return term(
        BOOL,
        column,
        lambda bindings: function(one.evaluate(bindings), two.evaluate(bindings)),
        [one, two],
    )


def _no_function(name: str, arguments: Sequence[Term], column: int) -> ExpressionError:
    if name == "matches":
        return ExpressionError(_NO_REGULAR_EXPRESSIONS, column=column)
    taken = ", ".join(article(each.type) for each in arguments) or "nothing"
    return ExpressionError(f"there is no function {name} that takes {taken}", column=column)


def _glob(pattern: str, text: str) -> bool:
    """Whether `text` is as `pattern` says. Only `*` is special: github.com/ryanuber/go-glob."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == text
    *middle, last = rest
    position = len(first) if text.startswith(first) else -1
    for part in middle:
        found = text.find(part, position) if position >= 0 else -1
        position = found + len(part) if found >= 0 else -1
    return 0 <= position <= len(text) - len(last) and text.endswith(last)
