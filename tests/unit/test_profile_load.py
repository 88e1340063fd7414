from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imager.profile import load
from imager.profile.load import load_profile, merge, parse_yaml, read_builtin, resolve
from imager.profile.names import builtin_names
from imager.support.errors import InputError, InvalidProfileError
from imager.talos.choices import OutFormat, OutputKind
from imager.talos.platforms import PLATFORMS


def problems(*layers: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(InvalidProfileError) as caught:
        load_profile(*layers, source="edge.yaml")
    assert caught.value.message.startswith("edge.yaml: ")
    return caught.value.problems


ISO = {"output": {"kind": "iso"}}


def test_mappings_merge_lists_append_other_values_replace() -> None:
    lower = {"a": 1, "m": {"x": [1], "y": 1, "z": {"deep": 1}}, "l": [1, 2]}
    upper = {"a": 2, "m": {"x": [2], "z": {"other": 2}}, "l": [2], "new": None}
    assert merge(lower, upper) == {
        "a": 2,
        "m": {"x": [1, 2], "y": 1, "z": {"deep": 1, "other": 2}},
        "l": [1, 2, 2],
        "new": None,
    }
    assert lower == {"a": 1, "m": {"x": [1], "y": 1, "z": {"deep": 1}}, "l": [1, 2]}


@pytest.mark.parametrize(("below", "above"), [({"x": 1}, 5), ([1], {"x": 1}), (5, [1]), (5, None)])
def test_values_of_different_kinds_replace(below: object, above: object) -> None:
    assert merge({"k": below}, {"k": above}) == {"k": above}


_LAYERS = st.recursive(
    st.dictionaries(st.sampled_from("abc"), st.integers() | st.lists(st.integers(), max_size=2)),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


@given(_LAYERS, _LAYERS)
def test_merging_with_nothing_changes_nothing(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert merge(one, {}) == merge({}, one) == one
    assert set(merge(one, two)) == set(one) | set(two)


def test_later_layers_lie_over_earlier_ones() -> None:
    args = {"customization": {"extraKernelArgs": ["a"]}}
    more = {"customization": {"extraKernelArgs": ["b"]}, "arch": "arm64"}
    profile = load_profile(ISO, args, more, source="x")
    assert profile.customization.extra_kernel_args == ("a", "b")
    assert profile.arch == "arm64"


def test_a_profile_lies_over_its_base() -> None:
    profile = load_profile({"baseProfileName": "iso", "arch": "arm64"}, source="x")
    assert profile.output.kind is OutputKind.ISO
    assert profile.arch == "arm64"
    assert profile.base_profile_name == ""


def test_an_unknown_base_is_told_with_the_nearest() -> None:
    with pytest.raises(InputError, match="there is no profile 'metl'") as caught:
        load_profile({"baseProfileName": "metl"}, source="x")
    assert caught.value.hint == "did you mean metal?"


@pytest.mark.parametrize("name", ["../../etc/passwd", "iso.yaml", "", ".", "xyz", "iso/../iso"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="there is no profile"):
        read_builtin(name)


def test_a_base_may_have_a_base(monkeypatch: pytest.MonkeyPatch) -> None:
    bases: dict[str, dict[str, Any]] = {
        "one": {"baseProfileName": "two", "arch": "arm64", "name": "one"},
        "two": {"baseProfileName": "", "name": "two", **ISO},
    }
    monkeypatch.setattr(load, "read_builtin", bases.__getitem__)
    assert resolve({"baseProfileName": "one", "version": "v1.9.0"}, source="x") == {
        "baseProfileName": "",
        "version": "v1.9.0",
        "arch": "arm64",
        "name": "one",
        **ISO,
    }


def test_bases_in_a_circle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "read_builtin", lambda name: {"baseProfileName": name})
    with pytest.raises(InvalidProfileError, match="go round in a circle"):
        resolve({"baseProfileName": "a"}, source="x")


def test_every_builtin_profile_loads() -> None:
    assert set(builtin_names()) >= {"iso", "metal"}
    kinds = {n: load_profile(read_builtin(n), source=n).output for n in builtin_names()}
    assert kinds["iso"].kind is OutputKind.ISO
    assert kinds["metal"].kind is OutputKind.IMAGE
    assert kinds["metal"].out_format is OutFormat.ZST


def test_ten_mistakes_are_told_at_once_each_with_its_path() -> None:
    found = problems(
        {
            "arhc": "amd64",
            "arch": "mips",
            "platform": "cloud",
            "version": "one point nine",
            "secureboot": "maybe",
            "customization": {
                "extraKernelArgs": ["two\nlines"],
                "metaContents": [{"key": "0x100", "value": "x"}],
            },
            "input": {"kernel": {}, "imageCache": {"ociPath": "a", "imageRef": "b"}},
            "output": {"kind": "iso", "imageOptions": {"diskSize": "big", "sectors": 1}},
        }
    )
    assert found == (
        "arch: 'mips' is not one of amd64, arm64",
        "arhc: unknown key (did you mean arch?)",
        "customization.extraKernelArgs.0: 'two\\nlines' is not one printable kernel argument",
        "customization.metaContents.0.key: '0x100' is not a META key from 0x1 to 0xff",
        "input.imageCache: needs exactly one of imageRef, tarballPath, ociPath",
        "input.kernel.path: is required",
        "output.imageOptions.diskSize: 'big' is not a size; write it as 4GiB, 4096MiB or 4GB",
        "output.imageOptions.sectors: unknown key (known: diskSize, diskFormat, "
        "diskFormatOptions, diskSectorSize, bootloader, sdBootEnrollKeys)",
        f"platform: 'cloud' is not one of {', '.join(PLATFORMS)}",
        "secureboot: 'maybe' is neither true nor false",
        "version: 'one point nine' is not a Talos version such as v1.14.0",
    )


def test_the_message_lists_them_below_the_source() -> None:
    with pytest.raises(InvalidProfileError) as caught:
        load_profile({"arch": "x", "output": {"kind": "iso"}, "versoin": ""}, source="edge.yaml")
    assert caught.value.message == (
        "edge.yaml: 2 problems\n"
        "  arch: 'x' is not one of amd64, arm64\n"
        "  versoin: unknown key (did you mean version?)"
    )
    assert caught.value.exit_code == 2


def test_a_misspelt_key_inside_a_list_is_placed() -> None:
    layer = {**ISO, "customization": {"metaContents": [{"key": 10, "value": "", "valeu": ""}]}}
    assert problems(layer) == (
        "customization.metaContents.0.valeu: unknown key (did you mean value?)",
    )


def test_python_names_are_no_profile_keys() -> None:
    layer = {**ISO, "customization": {"extra_kernel_args": ["x"]}}
    assert problems(layer) == (
        "customization.extra_kernel_args: unknown key (did you mean extraKernelArgs?)",
    )


def test_no_output_at_all() -> None:
    assert problems({}) == ("output: is required",)


def test_a_long_value_is_shortened() -> None:
    (problem,) = problems({**ISO, "arch": ["x" * 500]})
    assert len(problem) < 100


def parse(text: str) -> Any:
    return parse_yaml(text, source="edge.yaml")


def test_yaml_becomes_data() -> None:
    assert parse("arch: amd64\noutput: {kind: iso}\n") == {"arch": "amd64", **ISO}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("arch: a\nplatform: x\narch: b\n", "line 3: key 'arch' is given twice"),
        ("output:\n  kind: iso\n  kind: image\n", "line 3: key 'kind' is given twice"),
        ("a: &x [1]\nb: *x\n", "line 2: aliases are not allowed"),
        ("a: &x {b: *x}\n", "line 1: aliases are not allowed"),
        ("a: [1\n", "line 2: "),
        ("a: b: c\n", "line 1: mapping values are not allowed here"),
        ("a: !!python/object/apply:os.system [id]\n", "line 1: could not determine a constructor"),
        ("- a\n", "a profile is a YAML mapping with at least `output`"),
        ("text", "a profile is a YAML mapping"),
        ("", "a profile is a YAML mapping"),
        ("a: 1\n---\nb: 2\n", "line 2: but found another document"),
        ("? [a]\n: b\n", "line 1: a key must be a scalar"),
        ("? {a: b}\n: b\n", "line 1: a key must be a scalar"),
        ("version: 2024-13-45\n", "not YAML: month must be in 1..12"),
        ("a: !!int x\n", "not YAML"),
        ("a: !!bool x\n", "not YAML"),
        ("a: !!timestamp x\n", "not YAML"),
        (f"a: {'9' * 5000}\n", "not YAML"),
        ("a: \x00\n", "not YAML"),
        ("[" * 1000, "line 1: nests deeper than 128 levels"),
    ],
)
def test_what_is_no_profile(text: str, why: str) -> None:
    with pytest.raises(InvalidProfileError) as caught:
        parse(text)
    assert caught.value.message.startswith("edge.yaml: 1 problem\n  ")
    assert why in caught.value.message


def test_a_profile_that_is_too_large() -> None:
    with pytest.raises(InputError, match="larger than the 1 MiB limit"):
        parse("#" * ((1 << 20) + 1))


@given(st.text(max_size=60))
def test_any_text_is_a_mapping_or_a_told_error(text: str) -> None:
    with contextlib.suppress(InputError):
        assert isinstance(parse(text), dict)


def test_merge_keys_of_yaml_do_nothing_odd() -> None:
    with pytest.raises(InvalidProfileError):
        load_profile(parse("output: {kind: iso}\n<<: {arhc: x}\n"), source="x")


@pytest.mark.parametrize(
    ("layer", "problem"),
    [
        ({"output": 5}, "output: 5 is not a mapping"),
        ({**ISO, "input": []}, "input: [] is not a mapping"),
        ({**ISO, "version": 1.1}, "version: 1.1 is not text: put it in quotes"),
        ({**ISO, "secureboot": "maybe"}, "secureboot: 'maybe' is neither true nor false"),
        (
            {**ISO, "customization": {"extraKernelArgs": "quiet"}},
            "customization.extraKernelArgs: 'quiet' is not a list",
        ),
        (
            {"output": {"kind": "iso", "outFormat": [1]}},
            "output.outFormat: [1] is not one of raw, .tar.gz, .xz, .gz, .zst",
        ),
        (
            {"output": {"kind": True}},
            "output.kind: True is not one of iso, image, usb, installer, kernel, initramfs, uki,"
            " cmdline",
        ),
    ],
)
def test_values_of_the_wrong_kind(layer: dict[str, Any], problem: str) -> None:
    assert problems(layer) == (problem,)


def test_a_path_that_is_empty_is_none() -> None:
    layer = {**ISO, "input": {"kernel": {"path": ""}, "baseInstaller": {"imageRef": ""}}}
    assert load_profile(layer, source="x") == load_profile(ISO, source="x")
