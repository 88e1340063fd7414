from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imager.support.errors import InputError
from imager.support.yamldocs import DEEPEST, load_documents, load_located


def problem(text: str) -> str:
    with pytest.raises(InputError) as caught:
        load_documents(text)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 250
    return caught.value.message


def test_a_stream_is_several_documents() -> None:
    text = "# a comment\n---\na: 1\n---\n# nothing\n---\n- b\n...\n"
    assert list(load_documents(text)) == [{"a": 1}, None, ["b"]]
    assert list(load_documents("")) == []


def test_strings_that_are_others_to_pyyaml_alone() -> None:
    # No date is 2024-13-45; `=` is in the CRDs of Prometheus.
    text = "day: 2024-13-45\nenum: ['!=', =, =~]\nyes: true\nnone: ~\nnumber: 1.20\n"
    assert load_documents(text)[0] == {
        "day": "2024-13-45",
        "enum": ["!=", "=", "=~"],
        True: True,
        "none": None,
        "number": 1.2,
    }


def test_json_with_what_yaml_has_not() -> None:
    value: dict[str, object] = {"emoji": "\N{GRINNING FACE}", "slash": "a/b", "list": [1, None, {}]}
    text = json.dumps(value, indent="\t").replace("/", "\\/")
    assert "\\ud83d\\ude00" in text
    assert list(load_documents(text)) == [value]


def test_yaml_in_braces_is_yaml() -> None:
    assert list(load_documents("{a: b}\n---\n{c: d}\n")) == [{"a": "b"}, {"c": "d"}]


def test_aliases_and_merge_keys_expand() -> None:
    text = "base: &base {a: 1, b: 2}\nmid: &mid {<<: *base, b: 3}\ntop: [{<<: *mid, c: 4}]\n"
    (document,) = load_documents(text)
    assert isinstance(document, dict)
    assert document["mid"] == {"a": 1, "b": 3}
    assert document["top"] == [{"a": 1, "b": 3, "c": 4}]


def bomb(row: str) -> str:
    """Return nine rows, each ten times the one before; `row` writes one of aliases."""
    rows = [
        row.format(name=chr(98 + n), aliases=",".join([f"*{chr(97 + n)}"] * 10)) for n in range(9)
    ]
    return "\n".join(["a: &a {k: v}", *rows])


@pytest.mark.parametrize(
    "row", ["{name}: &{name} [{aliases}]", "{name}: &{name} {{<<: [{aliases}]}}"]
)
def test_a_bomb_of_aliases_is_refused_before_it_expands(row: str) -> None:
    assert "has more than 1000000 values with its aliases expanded" in problem(bomb(row))


def test_an_anchor_counts_anew_in_each_document() -> None:
    assert "'x' is inside its own anchor" in problem("a: &x [1]\n---\na: &x [*x]\n")


def test_what_nests_too_deeply() -> None:
    deep = "[" * (DEEPEST - 1) + "]" * (DEEPEST - 1)
    assert len(load_documents(deep)) == 1
    for text in ("[" * 200, "{a: " * 200, '{"a":' * 50_000):
        assert problem(text) == f"line 1: nests deeper than {DEEPEST} levels"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "line 4: key 'c' is given twice"),
        ('{"a": 1,\n"a": 2}', "line 2: key 'a' is given twice"),
        ("? [a]\n: b\n", "line 1: a key must be a scalar"),
        ("a: 1\n{{- if .x }}\nb: 1\n", "line 3: "),
        ("a:\n\t- b\n", "line 2: found character that cannot start any token"),
        ("a: *x\n", "line 1: found undefined alias 'x'"),
        ("a: !Ref x\n", "line 1: could not determine a constructor"),
        ("a: !!int x\n", "not YAML: "),
        ("a: \x00\n", "not YAML: unacceptable character #x0000"),
        ("a: \ud800\n", "not YAML: "),
        (f"{'k' * 5000}: 1\n", "line 1: "),
        (f"a: 1\n? {'k' * 5000}\n: 1\n? {'k' * 5000}\n: 2\n", "line 4: key 'kkk"),
    ],
)
def test_what_is_refused_and_where(text: str, why: str) -> None:
    assert problem(text).startswith(why)


@given(st.text(st.sampled_from("ab:-[]{}&*!<>|?#'\"%@=~0 \n\t\\,.\ud800\x00é"), max_size=40))
def test_any_text_is_documents_or_a_told_error(text: str) -> None:
    with contextlib.suppress(InputError):
        assert len(load_documents(text)) >= 0


def test_where_the_parts_of_documents_stand() -> None:
    text = "# first\na: 0x10\n---\nb:\n  <<: {c: 1, d: 2}\n  c: yes\n  e:\n  - 1\n  - f: ~\n"
    one, two = load_located(text)
    assert (one.value, two.value) == tuple(load_documents(text))
    assert (one.line(), one.line("a"), one.written("a")) == (2, 2, "0x10")
    lines = {"b": 4, "b.c": 6, "b.d": 5, "b.e[0]": 8, "b.e[1].f": 9, "b.e[7].f": 7, "b.x.y": 4}
    assert {path: two.line(path) for path in lines} == lines
    assert two.written("b.c") == "yes"
    assert [two.written(path) for path in ("b", "b.e", "b.e[1].f", "b.e[7]", "x")] == [None] * 5
    assert load_located("") == ()


def test_what_is_refused_is_refused_with_lines_too() -> None:
    aliases = bomb("{name}: &{name} [{aliases}]")
    for text in ("a: 1\na: 2", "a: &a [*a]", "[" * 200, "a: {", aliases):
        with pytest.raises(InputError) as caught:
            load_located(text)
        assert caught.value.message == problem(text)
