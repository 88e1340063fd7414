"""Selector expressions judged by Google's implementation of CEL in C++."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest
from cel_expr_python import cel
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from imager.machineconfig.disk import Disk
from imager.machineconfig.lexer import ExpressionError
from imager.machineconfig.selector import Selector

DISK = Disk(
    dev_path="/dev/sda",
    size=20 * 2**30,
    sector_size=4096,
    model="a",
    transport="nvme",
    symlinks=("a", "ab"),
)
TYPES = {
    "str": cel.Type.STRING,
    "int": cel.Type.UINT,
    "bool": cel.Type.BOOL,
    "tuple[str, ...]": cel.Type.List(cel.Type.STRING),
}
VARIABLES = {f"disk.{each.name}": TYPES[str(each.type)] for each in fields(Disk)}
UNITS = {"KiB": 2**10, "GiB": 2**30, "kB": 10**3, "GB": 10**9}
ENVIRONMENT = cel.NewEnv(
    variables={**VARIABLES, "system_disk": cel.Type.BOOL, **dict.fromkeys(UNITS, cel.Type.UINT)}
)
FAILS = "fails"


def theirs(text: str) -> tuple[object, int | None]:
    """Return what C++ makes of `text`, and the column of what is wrong with it."""
    data: dict[str, Any] = {name: getattr(DISK, name[5:]) for name in VARIABLES}
    data = {name: list(x) if isinstance(x, tuple) else x for name, x in data.items()}
    try:
        value = ENVIRONMENT.compile(text).eval(data={**data, **UNITS, "system_disk": True}).value()
    except RuntimeError as error:
        place = re.search(r"<input>:1:(\d+)", str(error))
        return FAILS, int(place[1]) if place else None
    return (value if isinstance(value, bool) else FAILS), None


def ours(text: str) -> tuple[object, int | None]:
    try:
        return Selector.parse(text).matches(DISK, system_disk=True), None
    except ExpressionError as error:
        return FAILS, error.column


LEAVES = st.sampled_from(
    [
        *("true", "false", "system_disk", "disk.rotational", "disk.size", "disk.sector_size"),
        *(
            "disk.model",
            "disk.symlinks",
            "0",
            "1",
            "7",
            "(-3)",
            "9223372036854775807",
            "0u",
            "4096u",
        ),
        *("0x10u", "18446744073709551615u", "1.5", ".5e1", "0.0", "'a'", '"ab"', "''", r"'\x61'"),
        *(r"r'\x'", "'''a'''", "GiB", "GB", "['a', 'ab']", "[1u]", "[2, 7]", "[]", "disk.nothing"),
        *("nothing", "[1.5]"),
    ]
)
# Conversions of text are left out here.
NUMBERS = st.sampled_from(["0", "-3", "disk.size", "18446744073709551615u", "1.5", "-1.5", "1e30"])
BINARY = st.sampled_from(
    [*("&&", "||", "==", "!=", "<", "<=", ">", ">="), *("+", "-", "*", "/", "%", "in")]
)


def _joined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({} {} {})".format, parts, BINARY, parts),
        st.builds("{} {} {}".format, parts, BINARY, parts),
        st.builds("{}({})".format, st.sampled_from(["!", "-", "!!", "--", "!-"]), parts),
        st.builds("({} ? {} : {})".format, parts, parts, parts),
        st.builds(
            "({}).{}({})".format,
            parts,
            st.sampled_from(["startsWith", "endsWith", "contains"]),
            parts,
        ),
        st.builds("size({})".format, parts),
        st.builds("{}({})".format, st.sampled_from(["int", "uint", "double"]), NUMBERS),
        st.builds("({}).size()".format, parts),
        st.builds("({})[{}]".format, parts, parts),
        st.builds(
            "({}).{}(x, {} {} {})".format,
            parts,
            st.sampled_from(["exists", "all"]),
            st.sampled_from(["x", "'a'", "x + x"]),
            BINARY,
            parts,
        ),
    )


EXPRESSIONS = st.recursive(LEAVES, _joined, max_leaves=6)


WHOLE = st.builds("{} {} {}".format, EXPRESSIONS, st.sampled_from(["==", "<", "&&"]), EXPRESSIONS)


@settings(max_examples=3000, deadline=None, derandomize=True)
@given(WHOLE)
def test_what_c_plus_plus_makes_of_it(text: str) -> None:
    assume(len(re.findall(r"exists|all\(", text)) <= 2)  # more nest too deeply here
    assume("[])." not in text and "[])[" not in text)  # the items of an empty list have no type
    assert ours(text)[0] == theirs(text)[0]


@pytest.mark.parametrize(
    "text",
    [
        "disk.size > 120",
        "system_disk && disk.nothing == 1",
        "system_disk || nothing",
        "disk.model == 1",
        "disk.size + 1 > 2u",
        "-disk.size < 1u",
        "disk.size in ['a']",
        "system_disk ? true : 1 + 1u == 2u",
    ],
)
def test_the_columns_of_what_is_wrong(text: str) -> None:
    (said, column), (theirs_said, theirs_column) = ours(text), theirs(text)
    assert said == theirs_said == FAILS
    if column and "disk.nothing" in text:  # there it is the dot
        column -= 1
    assert column == theirs_column


def test_what_is_right_here_and_wrong_there_would_be_seen() -> None:
    assert theirs("disk.size > 1u * GiB") == (True, None)
    assert theirs("disk.size > 1 * GiB")[0] == FAILS
    assert theirs("disk.size > 30u * GiB") == (False, None)
