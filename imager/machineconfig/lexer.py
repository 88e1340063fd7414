"""The words of a CEL expression.

Lexis of https://github.com/google/cel-spec/blob/master/doc/langdef.md: numbers with `u` for
unsigned ones, strings with escapes, raw and in triple quotes, comments. Bytes are left out.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from imager.errors import InputError

LONGEST = 10_000
_MOST_TOKENS = 1000
_LARGEST_INT, _LARGEST_UINT = (1 << 63) - 1, (1 << 64) - 1
_TOKEN = re.compile(
    r"""
    (?P<space>   (?: [\x20\t\r\n\f] | //[^\n]* )+ )
  | (?P<double>  (?: [0-9]*\.[0-9]+ (?:[eE][+-]?[0-9]+)? | [0-9]+[eE][+-]?[0-9]+ ) )
  | (?P<number>  (?: 0x[0-9a-fA-F]+ | [0-9]+ ) [uU]? )
  | (?P<raw>     [rR] (?: '''.*?''' | \"\"\".*?\"\"\" | '[^'\r\n]*' | "[^"\r\n]*" ) )
  | (?P<string>  '''(?:\\.|[^\\])*?''' | \"\"\"(?:\\.|[^\\])*?\"\"\"
               | '(?:\\.|[^\\'\r\n])*' | "(?:\\.|[^\\"\r\n])*" )
  | (?P<name>    [_a-zA-Z][_a-zA-Z0-9]* )
  | (?P<sign>    \|\| | && | [<>=!]= | [-+*/%<>!?:.,()[\]] )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\?\"'`])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})"
    r"|([0-3][0-7]{2})|)"
)
_CONTROLS = dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True))


class ExpressionError(InputError):
    """What is wrong with an expression, or its evaluation, at a `column` that counts from 1."""

    def __init__(self, message: str, *, column: int) -> None:
        self.column = column
        super().__init__(f"column {column}: {message}")


class TokenKind(enum.Enum):
    """What a token is; of the literals the value is of the type."""

    INT = "int"
    UINT = "uint"
    DOUBLE = "double"
    STRING = "string"
    NAME = "name"
    SIGN = "sign"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """A word at a `column` that counts from 1; `value` of a name or a sign is its text."""

    kind: TokenKind
    value: int | float | str
    column: int


def tokens_of(text: str) -> tuple[Token, ...]:
    """Return the tokens of `text`, END last; raises ExpressionError."""
    if len(text) > LONGEST:
        raise ExpressionError(f"has more than {LONGEST} characters", column=1)
    tokens = tuple(islice(_tokens(text), _MOST_TOKENS + 1))
    if len(tokens) > _MOST_TOKENS:
        raise ExpressionError(f"has more than {_MOST_TOKENS} words", column=1)
    return (*tokens, Token(TokenKind.END, "", len(text) + 1))


def _tokens(text: str) -> Iterator[Token]:
    position = 0
    while position < len(text):
        column = position + 1
        match = _TOKEN.match(text, position)
        if match is None:
            unclosed = text[position] in "'\""
            what = "a string has no end" if unclosed else f"{text[position]!r} is not of CEL"
            raise ExpressionError(what, column=column)
        position = match.end()
        if match.lastgroup != "space":
            yield _token(match.lastgroup or "", match[0], column)


def _token(group: str, text: str, column: int) -> Token:
    match group:
        case "double":
            return Token(TokenKind.DOUBLE, float(text), column)
        case "number":
            return _number(text, column)
        case "raw":
            return Token(TokenKind.STRING, _unquoted(text[1:]), column)
        case "string":
            return Token(TokenKind.STRING, _unescaped(_unquoted(text), column), column)
        case "name":
            return Token(TokenKind.NAME, text, column)
        case _:
            return Token(TokenKind.SIGN, text, column)


def _number(text: str, column: int) -> Token:
    digits = text.rstrip("uU")
    kind = TokenKind.INT if digits == text else TokenKind.UINT
    largest = _LARGEST_INT if kind is TokenKind.INT else _LARGEST_UINT
    too_long = len(digits) > len(str(_LARGEST_UINT))
    value = 0 if too_long else int(digits, 16 if digits.startswith("0x") else 10)
    if too_long or value > largest:
        raise ExpressionError(f"{text[:30]} is too large", column=column)
    return Token(kind, value, column)


def _unquoted(text: str) -> str:
    quotes = 3 if len(text) >= 6 and text[:3] in ("'''", '"""') else 1
    return text[quotes:-quotes]


def _unescaped(text: str, column: int) -> str:
    def plain(match: re.Match[str]) -> str:
        simple, *digits, octal = match.groups()
        code = next((int(each, 16) for each in digits if each), None)
        if simple:
            return _CONTROLS.get(simple, simple)
        if octal:
            return chr(int(octal, 8))
        if code is None or code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise ExpressionError("a string has an unknown escape", column=column)
        return chr(code)

    return _ESCAPE.sub(plain, text)
