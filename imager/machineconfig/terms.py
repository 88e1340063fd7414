"""The parts of a checked expression: each has a type, and a function that evaluates it.

Types and operators of https://github.com/google/cel-spec/blob/master/doc/langdef.md, as far as
expressions on disks need them. As in Talos, numbers of different types are not compared.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from imager.machineconfig.lexer import ExpressionError

BOOL, INT, UINT, DOUBLE, STRING = "bool", "int", "uint", "double", "string"
ANY = "any"  # what an empty list holds
_HIGHEST = 60
_RANGES = {INT: range(-(1 << 63), 1 << 63), UINT: range(1 << 64)}
_NUMERIC = (INT, UINT, DOUBLE)
_ORDERED = (*_NUMERIC, BOOL, STRING)

Bindings = Mapping[str, Any]
Evaluate = Callable[[Bindings], Any]


@dataclass(frozen=True, slots=True)
class Term:
    """A part of an expression that begins at `column` and stands on `height` levels of others."""

    type: str
    column: int
    evaluate: Evaluate
    height: int = 1

    def require(self, type_: str) -> None:
        """Raise ExpressionError unless the term is of `type_`."""
        if self.type != type_:
            raise ExpressionError(
                f"is {article(self.type)}, not {article(type_)}", column=self.column
            )


def article(type_: str) -> str:
    """Return a type with its article."""
    return f"{'an' if type_[0] in 'aeiou' and type_ != UINT else 'a'} {type_}"


def list_of(element: str) -> str:
    """Return the type of lists of `element`."""
    return f"list({element})"


def element_of(type_: str) -> str:
    """Return what lists of `type_` hold; empty for what is no list."""
    return type_[5:-1] if type_.startswith("list(") else ""


def shared(one: str, other: str) -> str:
    """Return the type that terms of both types have: an empty list is of any list; else empty."""
    empty = list_of(ANY)
    if one == other or (other == empty and element_of(one)):
        return one
    return other if one == empty and element_of(other) else ""


def term(type_: str, column: int, evaluate: Evaluate, parts: Sequence[Term]) -> Term:
    """Return a term of `parts`; raises ExpressionError when it is too high to be walked."""
    height = 1 + max((part.height for part in parts), default=0)
    if height > _HIGHEST:
        raise ExpressionError(f"nests deeper than {_HIGHEST} levels", column=column)
    return Term(type_, column, evaluate, height)


def constant(type_: str, column: int, value: object) -> Term:
    """Return a term that is always `value`."""
    return Term(type_, column, lambda _: value)


def logical(sign: str, parts: Sequence[Term], column: int) -> Term:
    """Return `parts` joined by `&&` or `||`; raises ExpressionError."""
    for part in parts:
        part.require(BOOL)

    def evaluate(bindings: Bindings) -> bool:
        return decided((partial(part.evaluate, bindings) for part in parts), by=sign == "||")

    return term(BOOL, column, evaluate, parts)


def decided(parts: Iterable[Callable[[], bool]], *, by: bool) -> bool:
    """Return `by` if one of `parts` is so, else the opposite; raises as the first that fails.

    What one part decides is so whether or not others fail, in any order.
    """
    failure = None
    for part in parts:
        try:
            if part() is by:
                return by
        except ExpressionError as error:
            failure = failure or error
    if failure:
        raise failure
    return not by


def binary(sign: str, left: Term, right: Term, column: int) -> Term:
    """Return `left` and `right` joined by any other operator; raises ExpressionError."""
    if sign == "in":
        return _member(left, right, column)
    type_ = shared(left.type, right.type)
    if sign in _COMPARE and (type_ in _ORDERED or (type_ and sign in ("==", "!="))):
        return _applied(BOOL, _COMPARE[sign], left, right, column)
    if sign in _COMPUTE and type_ in _RANGES:
        return _computed(_COMPUTE[sign], left, right, column)
    if sign in _COMPUTE_DOUBLES and type_ == DOUBLE:
        return _applied(DOUBLE, _COMPUTE_DOUBLES[sign], left, right, column)
    if sign == "+" and (type_ == STRING or element_of(type_)):
        return _applied(type_, operator.add, left, right, column)
    raise ExpressionError(_mismatch(sign, left, right), column=column)


def negated(sign: str, part: Term, column: int) -> Term:
    """Return `part` after `!` or `-`; raises ExpressionError."""
    if sign == "!":
        part.require(BOOL)
        return term(BOOL, column, lambda bindings: not part.evaluate(bindings), [part])
    if part.type not in (INT, DOUBLE):
        raise ExpressionError(f"`-` does not go with {article(part.type)}", column=column)
    zero = constant(part.type, column, -0.0 if part.type == DOUBLE else 0)
    return binary("-", zero, part, column)


def chosen(condition: Term, then: Term, other: Term, column: int) -> Term:
    """Return `condition ? then : other`; raises ExpressionError."""
    condition.require(BOOL)
    type_ = shared(then.type, other.type)
    if not type_:
        other.require(then.type)

    def evaluate(bindings: Bindings) -> Any:
        return (then if condition.evaluate(bindings) else other).evaluate(bindings)

    return term(type_, column, evaluate, [condition, then, other])


def converted(type_: str, part: Term, column: int) -> Term:
    """Return the number `part` as an int, a uint or a double."""
    if part.type not in _NUMERIC:
        raise ExpressionError(f"{type_}() does not take {article(part.type)}", column=column)

    def evaluate(bindings: Bindings) -> float | int:
        value = part.evaluate(bindings)
        if type_ == DOUBLE:
            return float(value)
        if isinstance(value, float) and not math.isfinite(value):
            raise _out_of_range(type_, column)
        return _ranged(type_, int(value), column)

    return term(type_, column, evaluate, [part])


def _applied(
    type_: str, function: Callable[[Any, Any], Any], left: Term, right: Term, column: int
) -> Term:
    return term(
        type_,
        column,
        lambda bindings: function(left.evaluate(bindings), right.evaluate(bindings)),
        [left, right],
    )


def _computed(function: Callable[[int, int], int], left: Term, right: Term, column: int) -> Term:
    def evaluate(bindings: Bindings) -> int:
        try:
            value = function(left.evaluate(bindings), right.evaluate(bindings))
        except ZeroDivisionError:
            raise ExpressionError("divides by zero", column=column) from None
        return _ranged(left.type, value, column)

    return term(left.type, column, evaluate, [left, right])


def _ranged(type_: str, value: int, column: int) -> int:
    if value not in _RANGES[type_]:
        raise _out_of_range(type_, column)
    return value


def _out_of_range(type_: str, column: int) -> ExpressionError:
    return ExpressionError(f"the result does not fit {article(type_)}", column=column)


def _member(left: Term, right: Term, column: int) -> Term:
    element = element_of(right.type)
    if element != ANY and (not element or not shared(left.type, element)):
        raise ExpressionError(_mismatch("in", left, right), column=column)
    return _applied(BOOL, lambda value, items: value in items, left, right, column)


def _mismatch(sign: str, left: Term, right: Term) -> str:
    problem = f"`{sign}` does not go with {article(left.type)} and {article(right.type)}"
    numbers = {left.type, right.type} == {INT, UINT}
    return f"{problem}: sizes are uint, write 10u * GiB" if numbers else problem


def _quotient(left: int, right: int) -> int:
    size = abs(left) // abs(right)
    return size if (left < 0) == (right < 0) else -size


def _remainder(left: int, right: int) -> int:
    return left - right * _quotient(left, right)


def _divided(left: float, right: float) -> float:
    """Divide as IEEE 754 does, by zero too."""
    if right:
        return left / right
    if not left or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1, right)


_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_COMPUTE: Mapping[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _quotient,
    "%": _remainder,
}
_COMPUTE_DOUBLES: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divided,
}
