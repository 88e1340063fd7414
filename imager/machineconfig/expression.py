"""CEL expressions on a disk, parsed and checked in one go.

The grammar is that of https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax; the
variables and `glob` are those that Talos adds (pkg/machinery/cel/celenv, DiskLocator). Left out:
maps, messages, bytes, null, time, regular expressions, conversions of text, lists of several
types, and macros other than `has`, `exists` and `all`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from imager.machineconfig.disk import Disk
from imager.machineconfig.functions import DISK, called, called_on, field_of, item_of
from imager.machineconfig.lexer import ExpressionError, Token, TokenKind, tokens_of
from imager.machineconfig.terms import (
    ANY,
    BOOL,
    DOUBLE,
    INT,
    STRING,
    UINT,
    Bindings,
    Term,
    article,
    binary,
    chosen,
    constant,
    decided,
    element_of,
    list_of,
    logical,
    negated,
    term,
)

_VARIABLES = {"disk": DISK, "system_disk": BOOL}
_UNITS = {
    **{f"{prefix}iB": 1 << (10 * n) for n, prefix in enumerate("KMGTPE", start=1)},
    **{f"{prefix}B": 10 ** (3 * n) for n, prefix in enumerate("kMGTPE", start=1)},
}
_LITERALS = {
    TokenKind.INT: INT,
    TokenKind.UINT: UINT,
    TokenKind.DOUBLE: DOUBLE,
    TokenKind.STRING: STRING,
}
# From what binds least on.
_LEVELS = (
    ("||",),
    ("&&",),
    ("<", "<=", ">=", ">", "==", "!=", "in"),
    ("+", "-"),
    ("*", "/", "%"),
)
_DEEPEST = 30
_MOST_MACROS = 2  # in one another: each goes through a whole list


def parse_expression(text: str) -> Term:
    """Return the checked expression `text`, which evaluates to a bool with `disk_bindings`.

    Raises ExpressionError with the column for what is no CEL, an unknown variable, or types
    that do not go together.
    """
    parser = _Parser(tokens_of(text))
    parsed = parser.expression()
    parser.expect("", "the expression should end here")
    if parsed.type != BOOL:
        raise ExpressionError(
            f"the expression is {article(parsed.type)}, not true or false", column=1
        )
    return parsed


def disk_bindings(disk: Disk, *, system_disk: bool) -> Bindings:
    """Return what an expression is evaluated with."""
    return {"disk": disk, "system_disk": system_disk}


@dataclass(slots=True)
class _Parser:
    """Reads tokens from the first on; `variables` are those in sight, with their types."""

    tokens: tuple[Token, ...]
    position: int = 0
    depth: int = 0
    macros: int = 0
    variables: dict[str, str] = field(default_factory=lambda: dict(_VARIABLES))

    @property
    def next(self) -> Token:
        """The token that is to be read."""
        return self.tokens[self.position]

    def take(self, *values: str) -> Token | None:
        """Read the next token if it is one of these signs or words."""
        token = self.next
        if token.kind not in (TokenKind.SIGN, TokenKind.NAME) or token.value not in values:
            return None
        self.position += 1
        return token

    def expect(self, value: str, problem: str) -> None:
        """Read the sign `value`, or the end if it is empty; raises ExpressionError."""
        at_end = not value and self.next.kind is TokenKind.END
        if not at_end and not self.take(value):
            raise ExpressionError(problem, column=self.next.column)

    def name(self) -> str:
        """Read a name."""
        token = self.next
        if token.kind is not TokenKind.NAME:
            raise ExpressionError("a name should stand here", column=token.column)
        self.position += 1
        return str(token.value)

    def expression(self) -> Term:
        """Read an expression."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise ExpressionError(f"nests deeper than {_DEEPEST} levels", column=self.next.column)
        parsed = self.joined(0)
        if mark := self.take("?"):
            then = self.joined(0)
            self.expect(":", "`:` should stand here")
            parsed = chosen(parsed, then, self.expression(), mark.column)
        self.depth -= 1
        return parsed

    def joined(self, level: int) -> Term:
        """Read what operators of a level, or of one that binds more, join."""
        if level == len(_LEVELS):
            return self.signed()
        parsed = self.joined(level + 1)
        signs = _LEVELS[level]
        if signs[0] in ("||", "&&"):
            return self.joined_logically(signs[0], level, parsed)
        while sign := self.take(*signs):
            parsed = binary(str(sign.value), parsed, self.joined(level + 1), sign.column)
        return parsed

    def joined_logically(self, sign: str, level: int, first: Term) -> Term:
        """Read what follows `first`, joined by `&&` or `||`, as one term."""
        parts = [first]
        while self.take(sign):
            parts.append(self.joined(level + 1))
        return first if len(parts) == 1 else logical(sign, parts, first.column)

    def signed(self) -> Term:
        """Read what may have `!` or `-` before it, but not both; two of one are none."""
        sign = self.take("!", "-")
        if sign is None:
            return self.member()
        signs = 1
        while self.take(str(sign.value)):
            signs += 1
        parsed = self.member()
        return negated(str(sign.value), parsed, sign.column) if signs % 2 else parsed

    def member(self) -> Term:
        """Read a primary, and the fields, methods and indexes behind it."""
        parsed = self.primary()
        while sign := self.take(".", "["):
            if sign.value == "[":
                parsed = self.item(parsed, sign.column)
                continue
            column = self.next.column
            name = self.name()
            if self.take("("):
                parsed = self.method(parsed, name, column)
            else:
                parsed = field_of(parsed, name, column)
        return parsed

    def primary(self) -> Term:
        """Read a literal, a variable, a call, a list, or what stands in parentheses."""
        token = self.next
        self.position += 1
        if token.kind in _LITERALS:
            return constant(_LITERALS[token.kind], token.column, token.value)
        if token.kind is TokenKind.NAME and token.value != "in":
            return self.named(str(token.value), token.column)
        if token.value == "(" and token.kind is TokenKind.SIGN:
            parsed = self.expression()
            self.expect(")", "`)` should stand here")
            return parsed
        if token.value == "[" and token.kind is TokenKind.SIGN:
            return self.list(token.column)
        problem = "the expression ends too early" if token.kind is TokenKind.END else "is no value"
        raise ExpressionError(problem, column=token.column)

    def named(self, name: str, column: int) -> Term:
        """Return what a name means; reads the arguments of a call."""
        if self.take("("):
            return self.call(name, column)
        if name in ("true", "false"):
            return constant(BOOL, column, name == "true")
        if name in self.variables:
            return Term(self.variables[name], column, lambda bindings: bindings[name])
        if name in _UNITS:
            return constant(UINT, column, _UNITS[name])
        known = ", ".join(self.variables)
        raise ExpressionError(f"unknown variable {name}; known: {known}, GiB, ...", column=column)

    def arguments(self, end: str) -> list[Term]:
        """Read expressions up to the sign `end`."""
        parsed: list[Term] = []
        while not self.take(end):
            if parsed:
                self.expect(",", f"`,` or `{end}` should stand here")
            parsed.append(self.expression())
        return parsed

    def list(self, column: int) -> Term:
        """Read a list behind its bracket."""
        items = self.arguments("]")
        types = {item.type for item in items}
        if len(types) > 1:
            raise ExpressionError("the items of a list must be of one type", column=column)
        return term(
            list_of(types.pop() if types else ANY),
            column,
            lambda bindings: tuple(item.evaluate(bindings) for item in items),
            items,
        )

    def item(self, parsed: Term, column: int) -> Term:
        """Read the index of a list behind its bracket."""
        index = self.expression()
        self.expect("]", "`]` should stand here")
        return item_of(parsed, index, column)

    def call(self, name: str, column: int) -> Term:
        """Read the arguments of a function behind its parenthesis."""
        if name == "has":
            return self.presence(column)
        return called(name, self.arguments(")"), column)

    def presence(self, column: int) -> Term:
        """Read `disk.NAME)`: whether the field is other than empty, zero or false."""
        parsed = self.member()
        self.expect(")", "`)` should stand here")
        if self.tokens[self.position - 3].value != ".":
            raise ExpressionError("has() takes a field, such as disk.serial", column=column)
        return term(BOOL, column, lambda bindings: bool(parsed.evaluate(bindings)), [parsed])

    def method(self, parsed: Term, name: str, column: int) -> Term:
        """Read the arguments of a method behind its parenthesis."""
        if name in ("exists", "all") and element_of(parsed.type):
            return self.macro(parsed, name, column)
        return called_on(parsed, name, self.arguments(")"), column)

    def macro(self, items: Term, name: str, column: int) -> Term:
        """Read `x, x == ...)`: what must be so of one item, or of all."""
        self.macros += 1
        if self.macros > _MOST_MACROS:
            raise ExpressionError(f"{name}() is in too many others", column=column)
        variable = self.name()
        self.expect(",", "`,` should stand here")
        outer = self.variables
        self.variables = {**outer, variable: element_of(items.type)}
        condition = self.expression()
        self.variables = outer
        self.macros -= 1
        self.expect(")", "`)` should stand here")
        condition.require(BOOL)

        def evaluate(bindings: Bindings) -> bool:
            values = items.evaluate(bindings)
            parts = (partial(condition.evaluate, {**bindings, variable: each}) for each in values)
            return decided(parts, by=name == "exists")

        return term(BOOL, column, evaluate, [items, condition])
