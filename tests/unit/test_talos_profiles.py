"""Profiles as Talos prints them: everything filled in, with the paths of its own container."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from imager.profile.leftout import left_out
from imager.profile.load import load_profile
from imager.talos.version import TalosVersion
from tests.lib.keys.signing_keys import generated
from tests.lib.tools.cli import MIB, invoke

# Written from the description of Talos's profiles: names and versions as it has them.
INPUT = {
    "kernel": {"path": "/usr/install/amd64/vmlinuz"},
    "initramfs": {"path": "/usr/install/amd64/initramfs.xz"},
    "sdStub": {"path": "/usr/install/amd64/systemd-stub.efi"},
    "sdBoot": {"path": "/usr/install/amd64/systemd-boot.efi"},
    "baseInstaller": {"imageRef": "ghcr.io/siderolabs/installer-base:1.14.0"},
}
SECURE_BOOT = {
    "secureBootSigner": {
        "keyPath": "/secureboot/uki-signing-key.pem",
        "certPath": "/secureboot/uki-signing-cert.pem",
    },
    "pcrSigner": {"keyPath": "/secureboot/pcr-signing-key.pem"},
}
OUTPUTS: dict[str, dict[str, Any]] = {
    "iso": {
        "kind": "iso",
        "isoOptions": {"sdBootEnrollKeys": "if-safe", "bootloader": "dual-boot"},
        "outFormat": "raw",
    },
    "metal": {
        "kind": "image",
        "imageOptions": {
            "diskSize": 4_453_302_272,
            "diskFormat": "raw",
            "bootloader": "dual-boot",
        },
        "outFormat": ".zst",
    },
    "metal-4k": {
        "kind": "image",
        "imageOptions": {
            "diskSize": 4_453_302_272,
            "diskFormat": "raw",
            "diskSectorSize": 4096,
            "bootloader": "dual-boot",
        },
        "outFormat": ".zst",
    },
    "uki": {"kind": "uki", "outFormat": "raw"},
    "kernel": {"kind": "kernel", "outFormat": "raw"},
}
SECURE_OUTPUTS: dict[str, dict[str, Any]] = {
    "iso": {
        "kind": "iso",
        "isoOptions": {"sdBootEnrollKeys": "if-safe", "bootloader": "sd-boot"},
        "outFormat": "raw",
    },
    "metal": {
        "kind": "image",
        "imageOptions": {"diskSize": 2_355_101_696, "diskFormat": "raw", "bootloader": "sd-boot"},
        "outFormat": ".zst",
    },
}


def printed(output: dict[str, Any], *, secure: bool = False) -> dict[str, Any]:
    return {
        "arch": "amd64",
        "platform": "metal",
        "secureboot": secure,
        "version": "1.14.0",
        "input": {**INPUT, **({"secureboot": SECURE_BOOT} if secure else {})},
        "output": output,
    }


def plan(profile: dict[str, Any], *options: str | Path) -> dict[str, Any]:
    done = invoke("-", "--dry-run", "--json", *options, stdin=yaml.safe_dump(profile))
    assert done.exit_code == 0, done.message
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_profile_is_taken_with_a_note_on_all_that_is_left_out(name: str, assets: Path) -> None:
    notes = "\n".join(plan(printed(OUTPUTS[name]), "--assets", assets)["notes"])
    assert "`input.baseInstaller` is left out: " in notes
    assert "`input.sdStub` left out: not in /usr/install/amd64, so boot assets" in notes
    assert ("sdBootEnrollKeys` is left out" in notes) == (name == "iso")
    assert ("bootloader` is left out: disks with sectors of 4096" in notes) == (name == "metal-4k")


@pytest.mark.parametrize(("version", "code"), [("v1.9.0", 0), ("v1.10.0", 3)])
def test_grub_on_4k_disks_is_what_talos_fills_in_before_1_10(
    assets: Path, version: str, code: int
) -> None:
    options = ("--bootloader=grub", f"--talos-version={version}", "--assets", assets, "--dry-run")
    assert invoke("metal-4k", *options).exit_code == code


def test_it_makes_what_its_parts_make(assets: Path) -> None:
    whole = plan(printed(OUTPUTS["metal-4k"]), "--assets", assets)
    base = {"baseProfileName": "metal-4k", "version": "1.14.0"}
    plain = plan(base, "--assets", assets, "--image-disk-size=4453302272")
    assert whole["regions"] == plain["regions"]
    assert whole["size"] == 4247 * MIB


@pytest.mark.parametrize("name", SECURE_OUTPUTS)
def test_the_default_paths_of_keys_are_those_of_the_folder(
    name: str, assets: Path, tmp_path: Path
) -> None:
    keys = generated(tmp_path / "keys")
    plan(printed(SECURE_OUTPUTS[name], secure=True), "--assets", assets, "--secureboot-dir", keys)


def test_a_path_of_the_users_own_is_not_passed_over(assets: Path) -> None:
    profile = printed(OUTPUTS["iso"])
    profile["input"] = {"kernel": {"path": "/mine/vmlinuz"}}
    done = invoke("-", "--dry-run", "--assets", assets, stdin=yaml.safe_dump(profile))
    assert "/mine/vmlinuz does not exist" in done.message


def notes(layer: dict[str, Any]) -> tuple[str, ...]:
    return left_out(load_profile(layer, source="x"), TalosVersion.parse("v1.9.0"))


@pytest.mark.parametrize("kind", ["uki", "kernel", "initramfs", "cmdline"])
def test_what_no_medium_has(kind: str) -> None:
    options = {"diskSize": "4GiB", "bootloader": "grub"}
    layer = {
        "input": {"imageCache": {"ociPath": "x"}},
        "output": {"kind": kind, "imageOptions": options},
    }
    assert [note.partition(" ")[0] for note in notes(layer)] == [
        "`input.imageCache`",
        "`output.imageOptions.diskSize`",
        "`output.imageOptions.bootloader`",
    ]


@pytest.mark.parametrize("kind", ["kernel", "initramfs", "uki"])
def test_only_what_has_a_command_line_takes_arguments(kind: str) -> None:
    custom = {"extraKernelArgs": ["a"], "metaContents": [{"key": 10, "value": "v"}]}
    found = notes({"customization": custom, "output": {"kind": kind}})
    assert len(found) == (0 if kind == "uki" else 2)


def test_what_has_an_effect_is_not_told() -> None:
    cache = {"imageCache": {"ociPath": "x"}}
    for kind in ("iso", "image", "usb"):
        options = {"bootloader": "sd-boot"}
        output = {"kind": kind, "imageOptions": options, "isoOptions": options}
        assert notes({"input": cache, "output": output}) == ()


@pytest.mark.parametrize("value", ["", "none"])
def test_a_bootloader_that_was_not_chosen(value: str) -> None:
    layer = {"output": {"kind": "image", "imageOptions": {"bootloader": value}}}
    assert load_profile(layer, source="x").output.bootloader is None


def test_keys_without_a_value_count_as_left_out() -> None:
    layer = yaml.safe_load("customization:\ninput: {imageCache: }\noutput: {kind: iso}\nversion:\n")
    assert load_profile(layer, source="x") == load_profile({"output": {"kind": "iso"}}, source="x")


def test_required_images_need_an_output_with_a_cache(assets: Path) -> None:
    options = ("--image-cache=x", "--require-images=a:1", "--assets", assets)
    done = invoke("iso", "--output-kind=uki", *options)
    assert "`--output-kind=uki` has no image cache for --require-images" in done.message


@pytest.mark.parametrize("kind", ["kernel", "initramfs"])
def test_what_is_not_signed_is_refused_for_secure_boot(kind: str, assets: Path) -> None:
    done = invoke("secureboot-iso", f"--output-kind={kind}", "--assets", assets)
    assert done.exit_code == 3
    assert f"`--output-kind={kind}` is not signed" in done.message
