"""What is made of the model: the JSON schema, the page on profiles, a profile to start from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from imager.profile.load import load_profile, parse_yaml, read_builtin
from imager.profile.names import builtin_names
from imager.profile.reference import profile_schema, reference, reference_table, starter
from imager.support.errors import InputError
from tests.lib.tools.cli import invoke

LEAF = re.compile(r"^(?P<indent> *)# (?P<line>\w+: .*)$")
# Each of them needs its neighbour, or goes with only one of them.
TOGETHER = (
    *("imageRef", "forceInsecure", "tarballPath", "keyPath", "certPath"),
    *("outFormat", "diskFormatOptions", "awsRegion", "awsCertPath", "awsCertARN"),
    *("azureVaultURL", "azureKeyID", "azureKeyVersion", "azureCertificateID"),
)


def schema_takes(profile: Any) -> bool:
    return not list(jsonschema.Draft202012Validator(profile_schema()).iter_errors(profile))


def uncommented(text: str, *numbers: int) -> str:
    lines = text.split("\n")
    for number in numbers:
        found = LEAF.match(lines[number])
        assert found
        lines[number] = f"{found['indent']}{found['line']}"
    return "\n".join(lines)


STARTER = starter("iso")
LEAVES = {
    number: found["line"].partition(":")[0]
    for number, line in enumerate(STARTER.split("\n"))
    if (found := LEAF.match(line))
}


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(profile_schema())


@pytest.mark.parametrize("name", builtin_names())
def test_the_schema_takes_the_built_in_profiles(name: str) -> None:
    assert schema_takes(read_builtin(name))


@pytest.mark.parametrize(
    "text",
    [
        "baseProfileName: iso",
        "output: {kind: image, imageOptions: {diskSize: 4GiB}}",
        "output: {kind: iso}\nversion:\ncustomization:\n",
        "baseProfileName: iso\ncustomization: {metaContents: [{key: 0xa, value: v}]}",
        "output: {kind: image, imageOptions: {diskSize: 1000000, diskSectorSize: 4096}}",
    ],
)
def test_the_schema_takes_what_is_a_profile(text: str) -> None:
    assert schema_takes(yaml.safe_load(text))
    load_profile(parse_yaml(text, source="x"), source="x")


@pytest.mark.parametrize(
    "text",
    [
        "arch: amd64",
        "baseProfileName: iso\nacrh: amd64",
        "baseProfileName: iso\narch: mips",
        "baseProfileName: iso\nplatform: cloud",
        "output: {kind: iso, outFormat: .bz2}",
        "output: {kind: image, imageOptions: {diskFormat: vmdk}}",
        "output: {kind: image, imageOptions: {diskSectorSize: 520}}",
        "output: {kind: iso, isoOptions: {bootloader: lilo}}",
        "baseProfileName: iso\ninput: {systemExtensions: [{imageRef: x, path: y}]}",
        "baseProfileName: iso\nsecureboot: maybe",
    ],
)
def test_the_schema_refuses_what_is_none(text: str) -> None:
    assert not schema_takes(yaml.safe_load(text))
    with pytest.raises(InputError):
        load_profile(parse_yaml(text, source="x"), source="x")


def test_every_field_is_told_and_every_choice_served() -> None:
    fields = {each.name: each for each in reference()}
    assert len(fields) > 40
    assert all(each.description.endswith(".") for each in fields.values())
    assert fields["output.imageOptions.diskFormat"].values == ("raw", "qcow2", "vhd", "ova")
    assert fields["overlay.name"].default == "default"


def test_a_profile_to_start_from_is_that_of_its_base() -> None:
    for name in builtin_names():
        text = starter(name)
        mine = load_profile(parse_yaml(text, source="x"), source="x")
        assert mine == load_profile(read_builtin(name), source="x")
        assert schema_takes(yaml.safe_load(text))


@pytest.mark.parametrize("number", [n for n, key in LEAVES.items() if key not in TOGETHER])
def test_each_line_of_it_may_be_used(number: int) -> None:
    text = uncommented(STARTER, number)
    assert load_profile(parse_yaml(text, source="x"), source="x")
    assert schema_takes(yaml.safe_load(text))


def test_all_lines_of_it_go_together() -> None:
    left = ("imageRef", "forceInsecure", "tarballPath", "outFormat", "diskFormatOptions")
    chosen = [number for number, key in LEAVES.items() if key not in left]
    assert len(chosen) > 20
    profile = load_profile(parse_yaml(uncommented(STARTER, *chosen), source="x"), source="x")
    assert profile.input.image_cache
    assert profile.input.secureboot


def test_init_writes_it_and_never_over_a_file(tmp_path: Path) -> None:
    file = tmp_path / "edge.yaml"
    assert invoke("profile", "init", file, "--base", "metal").exit_code == 0
    assert file.read_text() == starter("metal")
    again = invoke("profile", "init", file)
    assert again.exit_code == 2
    assert "exists already" in again.message
    assert invoke("profile", "init", "-").stdout == STARTER
    assert "did you mean metal?" in invoke("profile", "init", "-", "--base=metl").message


def test_show_takes_a_file_and_prints_all_of_it(tmp_path: Path) -> None:
    file = tmp_path / "edge.yaml"
    file.write_text("baseProfileName: metal\narch: arm64\n")
    shown = yaml.safe_load(invoke("profile", "show", file).stdout)
    assert shown["arch"] == "arm64"
    assert shown["output"]["outFormat"] == ".zst"
    assert load_profile(shown, source="x") == load_profile(
        {"baseProfileName": "metal", "arch": "arm64"}, source="x"
    )
    assert schema_takes(shown)


def test_the_commands_print_what_is_made() -> None:
    assert json.loads(invoke("profile", "schema").stdout) == profile_schema()
    assert invoke("profile", "reference").stdout == reference_table()
