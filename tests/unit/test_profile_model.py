from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from imager.cli.app import app
from imager.profile.disk_options import DiskOptions
from imager.profile.load import load_profile, parse_yaml
from imager.profile.model import Profile
from imager.support.errors import InvalidProfileError
from imager.talos.choices import Bootloader, EnrollKeys, OutFormat

MIB = 1 << 20


def profile(kind: str = "iso", **layer: Any) -> Profile:
    output = {"kind": kind, **layer.pop("output", {})}
    return load_profile({"output": output, **layer}, source="x")


def refused(kind: str = "iso", **layer: Any) -> str:
    with pytest.raises(InvalidProfileError) as caught:
        profile(kind, **layer)
    (problem,) = caught.value.problems
    return problem


def disk(**options: Any) -> dict[str, Any]:
    return {"kind": "image", "output": {"imageOptions": options}}


@pytest.mark.parametrize(
    ("text", "size"), [("4GiB", 4096 * MIB), ("4GB", 4 * 10**9), (1 << 30, 1 << 30), ("0", 0)]
)
def test_disk_sizes(text: object, size: int) -> None:
    assert profile(**disk(diskSize=text)).output.image_options.disk_size == size


@pytest.mark.parametrize("value", ["4 Gigs", -1, True, 1.5, [1], ""])
def test_what_is_no_disk_size(value: object) -> None:
    assert refused(**disk(diskSize=value)).startswith("output.imageOptions.diskSize: ")


@pytest.mark.parametrize(("text", "key"), [("0xa", 10), (10, 10), ("12", 12), ("0xff", 255)])
def test_meta_keys(text: object, key: int) -> None:
    contents = [{"key": text, "value": "v"}]
    assert (
        profile(customization={"metaContents": contents}).customization.meta_contents[0].key == key
    )


@pytest.mark.parametrize("key", [0, 256, "0x100", "ten", True, -1, 1.0, None, "9" * 5000])
def test_what_is_no_meta_key(key: object) -> None:
    problem = refused(customization={"metaContents": [{"key": key, "value": "v"}]})
    assert "is not a META key from 0x1 to 0xff" in problem


def test_a_meta_key_given_twice() -> None:
    contents = [{"key": key, "value": "v"} for key in ("0xa", 10, 12, "0xc", 13)]
    assert refused(customization={"metaContents": contents}) == (
        "customization.metaContents: META keys are given twice: 0xa, 0xc"
    )


@pytest.mark.parametrize(
    "text", ["quiet", "-quiet", "dyndbg=file a.c +p", "a=e", 'dyndbg="file a.c =p"', "-", "a="]
)
def test_kernel_arguments(text: str) -> None:
    given = profile(customization={"extraKernelArgs": [text]})
    assert given.customization.extra_kernel_args == (text,)


@pytest.mark.parametrize("text", ["", " a", "a ", "a\n", "a\nb", "a\tb", "ä", "a\x7f", "a\0"])
def test_what_is_no_kernel_argument(text: str) -> None:
    problem = refused(customization={"extraKernelArgs": [text]})
    assert "is not one printable kernel argument" in problem


@pytest.mark.parametrize("text", ["=", "=a", "a =b", 'a="b c" ='])
def test_kernel_arguments_have_names(text: str) -> None:
    problem = refused(customization={"extraKernelArgs": [text]})
    assert f"{text!r} has no name before `=`" in problem


@pytest.mark.parametrize("version", ["v1.9.0", "1.9", "v1.10.0-alpha.1+dirty", ""])
def test_versions(version: str) -> None:
    assert profile(version=version).version == version


@pytest.mark.parametrize(
    "version", ["v1.9/../x", "a b", "-v1", "x" * 65, "v1.9.0\n", "é", "latest", "v1.9.x"]
)
def test_what_is_no_version(version: str) -> None:
    assert "is not a Talos version" in refused(version=version)


@pytest.mark.parametrize("given", [("imageRef",), ("tarballPath",), ("ociPath",)])
def test_a_container_asset_is_in_one_place(given: tuple[str, ...]) -> None:
    assert profile(input={"imageCache": dict.fromkeys(given, "x")}).input.image_cache


@pytest.mark.parametrize("given", [(), ("imageRef", "ociPath"), ("forceInsecure",)])
def test_a_container_asset_in_no_place_or_two(given: tuple[str, ...]) -> None:
    values = {name: True if name == "forceInsecure" else "x" for name in given}
    problem = refused(input={"imageCache": values})
    assert problem == "input.imageCache: needs exactly one of imageRef, tarballPath, ociPath"


@pytest.mark.parametrize("out_format", OutFormat)
@pytest.mark.parametrize("kind", ["iso", "image", "usb", "uki", "kernel", "initramfs", "cmdline"])
def test_every_kind_may_be_compressed(kind: str, out_format: OutFormat) -> None:
    made = profile(kind, output={"outFormat": out_format.value})
    assert made.output.out_format is out_format


def test_a_format_that_does_not_exist_is_refused() -> None:
    problem = refused("iso", output={"outFormat": ".bz2"})
    assert problem == "output.outFormat: '.bz2' is not one of raw, .tar.gz, .xz, .gz, .zst"


def test_default_formats() -> None:
    assert profile("image").output.out_format is OutFormat.ZST
    assert profile("usb").output.out_format is OutFormat.RAW
    for kind in ("iso", "kernel", "initramfs", "uki", "cmdline"):
        assert profile(kind).output.out_format is OutFormat.RAW


@pytest.mark.parametrize("bootloader", Bootloader)
def test_a_bootloader_may_be_named(bootloader: Bootloader) -> None:
    assert profile(**disk(bootloader=bootloader.value)).output.bootloader is bootloader


def test_what_talos_writes_for_a_choice_that_was_not_made() -> None:
    made = profile(**disk(bootloader="", sdBootEnrollKeys=""))
    assert made.output.bootloader is None
    assert made.output.enroll_keys is None


def test_off_is_a_word_as_in_yaml_1_2() -> None:
    text = "output: {kind: iso, isoOptions: {sdBootEnrollKeys: off}}"
    made = load_profile(parse_yaml(text, source="x"), source="x")
    assert made.output.enroll_keys is EnrollKeys.OFF


def test_profiles_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        profile().arch = "arm64"


ISO_SHOWN = """\
baseProfileName: ''
name: ''
arch: amd64
platform: metal
secureboot: false
version: ''
customization:
  extraKernelArgs: []
  metaContents: []
  embeddedMachineConfiguration: ''
input:
  systemExtensions: []
output:
  kind: iso
  outFormat: raw
  imageOptions:
    diskFormat: raw
    diskFormatOptions: ''
    diskSectorSize: 512
  isoOptions: {}
"""


def test_profile_show_prints_what_resolves() -> None:
    done = CliRunner().invoke(app, ["profile", "show", "iso"])
    assert done.exit_code == 0
    assert done.output == ISO_SHOWN


def test_what_profile_show_prints_is_a_profile_again() -> None:
    shown = load_profile(parse_yaml(ISO_SHOWN, source="x"), source="x")
    assert shown == profile("iso")


@pytest.mark.parametrize(
    ("disk_format", "options", "expected"),
    [
        ("qcow2", "", DiskOptions(cluster_size=65536)),
        ("qcow2", "cluster_size=8k", DiskOptions(cluster_size=8192)),
        ("qcow2", "cluster_size=512", DiskOptions(cluster_size=512)),
        ("qcow2", "cluster_size=2M", DiskOptions(cluster_size=2 << 20)),
        ("vhd", "subformat=fixed,force_size", DiskOptions(force_size=True)),
        ("vhd", "force_size=on", DiskOptions(force_size=True)),
        ("vhd", "force_size=off", DiskOptions()),
    ],
)
def test_options_of_disk_formats(disk_format: str, options: str, expected: DiskOptions) -> None:
    made = profile(**disk(diskFormat=disk_format, diskFormatOptions=options))
    assert made.output.image_options.disk_options == expected


@pytest.mark.parametrize(
    ("disk_format", "options", "problem"),
    [
        ("raw", "cluster_size=8k", "raw has no option cluster_size (it has no options)"),
        ("qcow2", "force_size", "qcow2 has no option force_size (known: cluster_size)"),
        ("qcow2", "cluster_size=3k", "cluster_size=3k is not a power of two from 512 to 2M"),
        ("qcow2", "cluster_size=4M", "cluster_size=4M is not a power of two from 512 to 2M"),
        ("vhd", "subformat=dynamic", "subformat=dynamic: only fixed is supported"),
        ("vhd", "force_size=maybe", "force_size=maybe is neither on nor off"),
    ],
)
def test_wrong_options_of_disk_formats(disk_format: str, options: str, problem: str) -> None:
    found = refused(**disk(diskFormat=disk_format, diskFormatOptions=options))
    assert found == f"output.imageOptions.diskFormatOptions: {problem}"
