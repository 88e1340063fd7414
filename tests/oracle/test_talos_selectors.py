"""Made-up selector expressions: cel-go in Talos and the C++ library must agree on them."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imager.talos.config.cel import ExpressionError, compiled, evaluate
from imager.talos.config.disk import FIELDS_SINCE, Disk
from imager.talos.version import TalosVersion
from tests.lib.tools.examples import examples
from tests.lib.tools.talos_modules import RELEASE, TalosModules

pytestmark = pytest.mark.oracle

VERSION = TalosVersion.parse(RELEASE)
DISK = Disk(dev_path="/dev/sda", size=20 << 30, sector_size=4096, model="a", symlinks=("a", "ab"))
FIELDS = {
    key: str(value) if key.endswith("size") else value
    for key, value in asdict(DISK).items()
    if VERSION.at_least(*FIELDS_SINCE.get(key, (0, 0)))
}
FAILS = "fails"

LEAVES = st.sampled_from(
    [
        *("true", "false", "system_disk", "disk", "disk.rotational", "disk.size", "disk.model"),
        *("disk.symlinks", "disk.nothing", "nothing", "GiB", "0", "1", "(-3)", "0u", "4096u"),
        *("9223372036854775807", "18446744073709551615u", "0x10u", "1.5", ".5e1", "0.0", "null"),
        *("'a'", '"ab"', "''", r"'\x61'", r"r'\x'", "'12'", "b'a'", "duration('1s')"),
        *("['a', 'ab']", "[1u]", "[2, 7]", "[]", "[1, 'a']", "{'a': 1}", "{}"),
    ]
)
BINARY = st.sampled_from(
    ["&&", "||", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "in"]
)
METHODS = st.sampled_from(["startsWith", "endsWith", "contains", "matches"])
MACROS = st.sampled_from(["exists", "all", "exists_one", "filter", "map"])
FUNCTIONS = st.sampled_from(["size", "int", "uint", "double", "string", "type", "dyn", "bool"])


def joined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({} {} {})".format, parts, BINARY, parts),
        st.builds("{} {} {}".format, parts, BINARY, parts),
        st.builds("{}({})".format, st.sampled_from(["!", "-", "!!", "--", "!-"]), parts),
        st.builds("({} ? {} : {})".format, parts, parts, parts),
        st.builds("({}).{}({})".format, parts, METHODS, parts),
        st.builds("{}({})".format, FUNCTIONS, parts),
        st.builds("({})[{}]".format, parts, parts),
        st.builds("({}).{}(x, x {} {})".format, parts, MACROS, BINARY, parts),
    )


EXPRESSIONS = st.recursive(LEAVES, joined, max_leaves=6)
WHOLE = st.builds("{} {} {}".format, EXPRESSIONS, st.sampled_from(["==", "<", "&&"]), EXPRESSIONS)


def ours(text: str) -> bool | str | None:
    """Return what ours makes of `text`, None for what is not valid."""
    try:
        compiled(text, VERSION)
    except ExpressionError:
        return None
    try:
        return evaluate(text, [DISK], system_disk="/dev/sda")[0]
    except ExpressionError:
        return FAILS


def theirs(text: str, talos: TalosModules) -> bool | str | None:
    if not talos.ask("selector", text=text).is_right:
        return None
    found = talos.ask("selector", text=text, disk=FIELDS, system_disk=True)
    return bool(found.result) if found.is_right else FAILS


@settings(
    max_examples=examples(150),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=WHOLE)
def test_they_agree(talos: TalosModules, text: str) -> None:
    assert ours(text) == theirs(text, talos)


def test_a_difference_would_be_seen(talos: TalosModules) -> None:
    assert ours("disk.size > 1u * GiB") is theirs("disk.size > 1u * GiB", talos) is True
    assert ours("disk.size > 30u * GiB") is theirs("disk.size > 30u * GiB", talos) is False
    assert ours("1 / 0 == 1") == theirs("1 / 0 == 1", talos) == FAILS
    assert ours("disk.size > 1") is theirs("disk.size > 1", talos) is None
