"""Errors and notes name an option where one was given, and YAML's key where that was."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from imager.cli.build_options import field_options
from imager.cli.naming import Naming
from imager.profile.load import load_profile, merge, submodel_at
from imager.profile.model import Profile
from imager.support.errors import InvalidProfileError
from imager.support.fields import setting
from tests.lib.tools.cli import REPOSITORY, invoke

SIZE = "output.imageOptions.diskSize"


def layer(path: str, value: object) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    assert isinstance(value, dict)
    return value


def test_a_built_in_profile_is_changed_by_options() -> None:
    naming = Naming({}, {})
    text = f"choose {setting(SIZE, '5MiB')}, or leave {setting('version')} out"
    assert naming.text(text) == "choose `--image-disk-size=5MiB`, or leave `--talos-version` out"
    assert naming.of(("output", "imageOptions", "diskSize")) == "--image-disk-size"
    assert naming.of(("customization", "metaContents", 0, "key")) == "--meta"
    assert naming.of(("name",)) == "name"


def test_what_is_in_yaml_has_its_key_and_what_an_option_gave_the_option() -> None:
    naming = Naming(layer("output.kind", "image"), layer(SIZE, "1"))
    assert naming.text(f"{setting(SIZE)} {setting('output.kind', 'iso')} {setting('version')}") == (
        "`--image-disk-size` `output.kind: iso` `version`"
    )
    assert naming.of(("output", "kind")) == "output.kind"


def test_lists_of_options_come_after_those_of_yaml() -> None:
    path = "customization.extraKernelArgs"
    naming = Naming(layer(path, ["a", "b"]), layer(path, ["c"]))
    found = [naming.of(("customization", "extraKernelArgs", index)) for index in range(3)]
    assert found == [f"{path}.0", f"{path}.1", "--extra-kernel-arg"]


def test_a_value_that_goes_to_two_fields_is_one_problem() -> None:
    given = merge(layer("output.isoOptions.bootloader", "x"), layer(SIZE, "y"))
    given = merge(given, layer("output.imageOptions.bootloader", "x"))
    with pytest.raises(InvalidProfileError) as caught:
        load_profile({"output": {"kind": "iso"}}, given, source="x", name=Naming({}, given).of)
    assert caught.value.problems == (
        "--bootloader: 'x' is not one of dual-boot, sd-boot, grub",
        "--image-disk-size: 'y' is not a size; write it as 4GiB, 4096MiB or 4GB",
    )


def test_other_words_between_backquotes_stay() -> None:
    text = "run `imager assets fetch`; the file `version` and ``; `output.kind.x: 1`"
    assert Naming({}, {}).text(text) == text.replace("`version`", "`--talos-version`")


def fields(model: type[BaseModel], path: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        own = f"{path}{field.alias or name}"
        yield own
        inner = submodel_at(model, field.alias or name)
        if inner:
            yield from fields(inner, f"{own}.")


def test_every_field_that_is_named_exists() -> None:
    known = set(fields(Profile))
    assert set(field_options()) <= known
    named = {
        found
        for source in (REPOSITORY / "imager").rglob("*.py")
        for found in re.findall(r"setting\(\s*['\"]([\w.]+)['\"]", source.read_text())
    }
    assert len(named) >= 10
    assert named <= known


def test_every_option_says_which_field_it_is(assets: Path, tmp_path: Path) -> None:
    """Choices are checked before: these are the others."""
    wrong = {
        "--talos-version": "latest",
        "--extra-kernel-arg": "a\nb",
        "--meta": "0x100=v",
        "--image-disk-size": "big",
    }
    done = invoke("iso", *(f"{name}={value}" for name, value in wrong.items()))
    lines = done.message.split("\n")
    assert lines[0] == f"iso: {len(wrong)} problems"
    found = {line.strip().partition(": ")[0] for line in lines[1:] if line}
    assert found == set(wrong)


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("", ("--image-disk-size=5MiB",), ("`--image-disk-size=1246MiB`",)),
        (f"{SIZE}: 5MiB", (), (f"`{SIZE}: 1246MiB`",)),
        (f"{SIZE}: 5MiB", ("--image-disk-size=6MiB",), ("6 MiB", "`--image-disk-size=1246MiB`")),
        (f"{SIZE}: 1600000001", (), (f"`{SIZE}: 1600000001` is not a multiple",)),
        ("", ("--image-disk-size=1600000001",), ("`--image-disk-size=1600000001` is not a",)),
        ("", ("--bootloader=dual-boot", "--arch=arm64"), ("`--bootloader=dual-boot`: arm64 ",)),
        (
            "output.imageOptions.sdBootEnrollKeys: force",
            (),
            ("`output.imageOptions.sdBootEnrollKeys: force`: without SecureBoot",),
        ),
        ("", ("--secureboot-enroll-keys=force",), ("`--secureboot-enroll-keys=force`: without",)),
    ],
)
def test_errors_of_a_build(
    assets: Path, tmp_path: Path, text: str, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    profile: str | Path = "metal"
    if text:
        path, _, value = text.partition(": ")
        lines = ["baseProfileName: metal"]
        lines += [f"{'  ' * depth}{key}:" for depth, key in enumerate(path.split("."))]
        profile = tmp_path / "edge.yaml"
        profile.write_text("\n".join(lines) + f" {value}\n")
    done = invoke(profile, "--assets", assets, "--dry-run", *options)
    for word in words:
        assert word in done.message


@pytest.mark.parametrize("text", ["", "0xa", "=v", "a=v", "0=v", "256=v", "-1=v", "1.5=v"])
def test_what_is_no_meta_value_names_its_option(text: str) -> None:
    done = invoke("iso", "--meta", text)
    assert done.exit_code == 2
    assert "--meta" in done.message
