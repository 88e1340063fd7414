"""Outputs for boards: sgdisk, mtools and umoci find what an overlay image added.

The image has profiles of its own, and is made by umoci.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from imager import Pulling, opened_profile
from imager.content.folder import open_folder
from imager.content.rootfiles import RootFiles
from imager.image.overlay import Overlay, ask_overlay
from imager.support.arch import find_arch
from imager.talos.choices import Bootloader
from tests.lib.registries.registry import RunningRegistry
from tests.lib.tools.cli import (
    MIB,
    cut,
    fingerprint,
    invoke,
    partitions,
    run,
    synthetic_assets,
    tool,
)
from tests.lib.tools.crane import crane
from tests.lib.volumes.board_images import (
    FIRMWARE,
    FIRMWARE_OFFSET,
    files_below,
    installer_base,
    overlay_image,
    overlay_installer,
    unpacked_installer,
)

pytestmark = pytest.mark.oracle

# As those of sbc-raspberrypi are, and with an argument to tell it by.
_BOARD = b"""
arch: arm64
platform: metal
secureboot: false
customization:
  extraKernelArgs: [from=overlay]
output:
  kind: image
  outFormat: raw
  imageOptions:
    diskSize: 1306525696
    diskFormat: raw
    bootloader: grub
"""
PROFILES: Mapping[str, bytes | str] = {
    "board.yaml": _BOARD,
    "same.yaml": "board.yaml",
    # A name that is built-in, too.
    "aws.yaml": b"baseProfileName: metal\nplatform: nocloud\n"
    b"output: {kind: cmdline, outFormat: raw}\n",
    "part.yaml": b"output: {outFormat: .gz}",
    "keys.yaml": b"arch: arm65\noutput: {kidn: iso}\n",
    "alias.yaml": b"a: &a [x]\nb: *a\n",
    "list.yaml": b"- x\n",
    "bytes.yaml": b"arch: \xff\xfe\n",
    "large.yaml": b"#" * (1 << 20) + b"\n",
    "loop.yaml": "loop.yaml",
    "base.yaml": b"baseProfileName: nothing\n",
}


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("assets")
    synthetic_assets(folder, arch="arm64")
    return synthetic_assets(folder)


@pytest.fixture(scope="module")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"oci:{overlay_image(tmp_path_factory.mktemp('overlay'), PROFILES)}"


@pytest.mark.parametrize("bootloader", ["grub", "sd-boot"])
@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_a_disk_for_a_board(
    bootloader: str, arch: str, assets: Path, overlay: str, tmp_path: Path
) -> None:
    options = ("--assets", assets, "--arch", arch, "--talos-version", "v1.9.0")
    board = ("--overlay-image", overlay, "--overlay-name", "board", "--overlay-option", "model=b2")
    form = ("--bootloader", bootloader, "--out-format", "raw", "--output", tmp_path)
    done = invoke("metal", *options, *board, *form)
    assert done.exit_code == 0, done.message
    image = tmp_path / f"metal-{arch}.raw"
    with image.open("rb") as file:
        file.seek(FIRMWARE_OFFSET)
        assert file.read(len(FIRMWARE)) == FIRMWARE
    tool("sgdisk", "--verify", image)
    efi = partitions(image)[1][0]
    assert efi.start == 10 * MIB
    volume = cut(image, efi.start, efi.size, tmp_path / "efi.img")
    assert tool("mtype", "-i", volume, "::/config.txt") == "model=b2\n"
    assert tool("mtype", "-i", volume, "::/dtb/board.dtb") == "device tree"


def test_the_kernel_has_the_arguments_of_the_board(
    assets: Path, overlay: str, tmp_path: Path
) -> None:
    board = ("--overlay-image", overlay, "--overlay-name", "board", "--overlay-option", "model=b2")
    options = ("--assets", assets, "--arch", "arm64", "--output", tmp_path)
    done = invoke("metal", "--output-kind", "cmdline", *options, *board)
    assert done.exit_code == 0, done.message
    line = (tmp_path / "cmdline-metal-arm64").read_text()
    assert line.startswith("talos.platform=metal console=ttyS2 board.model=b2 init_on_alloc=1 ")


def test_the_firmware_is_in_the_plan(assets: Path, overlay: str, tmp_path: Path) -> None:
    board = ("--overlay-image", overlay, "--overlay-name", "board", "--overlay-option", "model=b2")
    options = ("--assets", assets, "--output", tmp_path, "--dry-run", "--json")
    regions = json.loads(invoke("metal", *options, *board).stdout)["regions"]
    found = [each for each in regions if each["name"] == "firmware of board"]
    assert [(each["offset"], each["length"]) for each in found] == [(FIRMWARE_OFFSET, 6144)]


def test_an_overlay_without_an_image(assets: Path, tmp_path: Path) -> None:
    done = invoke("metal", "--assets", assets, "--overlay-name", "x", "--output", tmp_path)
    assert done.exit_code == 2
    assert "an overlay needs an image" in done.message
    assert "--overlay-image" in done.message


def command_line(folder: Path, arch: str = "arm64", platform: str = "metal") -> str:
    return (folder / f"cmdline-{platform}-{arch}").read_text()


def test_a_profile_of_the_image_is_the_base(assets: Path, overlay: str, tmp_path: Path) -> None:
    """It has the architecture; what the user adds comes after it, and `aws` is not the built-in."""
    board = ("--overlay-image", overlay, "--overlay-name", "board", "--assets", assets)
    mine = ("--extra-kernel-arg", "mine=1", "--output", tmp_path)
    for name, line in (
        ("board", " from=overlay mine=1"),
        ("same", " from=overlay mine=1"),
    ):
        done = invoke(name, *board, *mine, "--output-kind", "cmdline")
        assert done.exit_code == 0, done.message
        assert command_line(tmp_path).endswith(line)
    done = invoke("aws", *board, "--output", tmp_path)
    assert done.exit_code == 0, done.message
    line = command_line(tmp_path, "amd64", "nocloud")
    assert line.startswith("talos.platform=nocloud ")
    assert " board.model " in line


def test_a_profile_of_the_image_below_one_in_a_file(
    assets: Path, overlay: str, tmp_path: Path
) -> None:
    profile = tmp_path / "edge.yaml"
    image = {"ociPath": overlay.removeprefix("oci:")}
    fields = {
        "baseProfileName": "board",
        "arch": "amd64",
        "overlay": {"name": "board", "image": image, "options": {"model": "1e3"}},
    }
    with opened_profile([fields], Pulling(), source="x") as opened:
        assert opened.profile.output.bootloader is Bootloader.GRUB
    profile.write_text(yaml.safe_dump(fields))
    options = ("--assets", assets, "--output", tmp_path, "--dry-run", "--json")
    done = invoke(str(profile), *options)
    assert done.exit_code == 0, done.message
    plan = json.loads(done.stdout)
    assert plan["output"].endswith("metal-amd64.raw")
    assert [each["name"] for each in plan["regions"] if each["name"] == "BOOT"] == ["BOOT"]
    # It is no whole profile, and need not be one.
    profile.write_text(yaml.safe_dump({**fields, "baseProfileName": "part"}))
    done = invoke(str(profile), *options)
    assert done.exit_code == 2
    assert "output.kind: is required" in done.message


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("keys", "{}/keys.yaml: 2 problems"),
        ("keys", "output.kidn: unknown key (did you mean kind?)"),
        ("alias", "aliases are not allowed"),
        ("list", "{}/list.yaml: 1 problem\n  a profile is a YAML mapping"),
        ("bytes", "{}/bytes.yaml is not UTF-8: invalid byte at offset 6"),
        ("large", "{}/large.yaml is larger than the 1 MiB limit"),
        ("loop", "there is no profile 'loop', built-in or in "),
        ("base", "there is no profile 'nothing'"),
        ("../profiles/board", "cannot read the profile ../profiles/board"),
        ("rpi", "the image has: alias, aws, "),
    ],
)
def test_a_profile_of_the_image_that_is_none(
    name: str, words: str, assets: Path, overlay: str, tmp_path: Path
) -> None:
    options = ("--overlay-image", overlay, "--assets", assets, "--output", tmp_path)
    done = invoke(name, *options)
    assert done.exit_code == 2
    assert words.format(f"{overlay.removeprefix('oci:')}: profiles") in done.message


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_an_installer_carries_the_overlay(arch: str, assets: Path, tmp_path: Path) -> None:
    """What umoci unpacks of it, a machine can run; twice it is the same."""
    image = overlay_image(tmp_path / "overlay", PROFILES, arch=arch)
    layout = installer_base(tmp_path, arch=arch)
    board = ("--overlay-image", f"oci:{image}", "--overlay-name", "board")
    chosen = ("--overlay-option", "model=1e3", "--overlay-option", "serial=007")
    base = ("--base-installer-image", f"oci:{layout}", "--arch", arch, "--assets", assets)
    options = (*board, *chosen, *base, "--talos-version", "v1.14.0")
    archives = [tmp_path / place / f"installer-{arch}.tar" for place in ("one", "two")]
    for archive in archives:
        done = invoke("installer", *options, "--output", archive.parent)
        assert done.exit_code == 0, done.message
    assert fingerprint(archives[0]) == fingerprint(archives[1])
    root = unpacked_installer(f"oci-archive:{archives[0]}", tmp_path)
    carried = root / "overlay"
    files = files_below(carried)
    told = files.pop("extra-options")
    assert yaml.safe_load(told) == {"model": "1e3", "serial": "007"}
    # YAML 1.2 has a number of this form, and its readers must not see it.
    assert b'"1e3"' in told
    assert files == {
        "artifacts/firmware.bin": FIRMWARE,
        "artifacts/latest.bin": FIRMWARE,
        "artifacts/private/board.dtb": b"device tree",
        "installers/default": overlay_installer(arch),
    }
    modes = {
        name: stat.S_IMODE((carried / name).stat().st_mode)
        for name in ("installers/default", "artifacts/private", "extra-options")
    }
    assert modes == {
        "installers/default": 0o755,
        "artifacts/private": 0o700,
        "extra-options": 0o644,
    }
    manifest = json.loads(tool("skopeo", "inspect", "--raw", f"oci:{tmp_path}/image:x"))
    assert len(manifest["layers"]) == 3
    tree = open_folder(carried)
    executable = [replace(file, mode=0o755) for file in tree.files]
    overlay = Overlay(
        RootFiles(tree.with_files(executable)), "default", find_arch(arch), yaml.safe_load(told)
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert ask_overlay(overlay, scratch).kernel_args == ("console=ttyS2", "board.model=1e3")


@pytest.fixture
def multi(registry: RunningRegistry, tmp_path: Path) -> str:
    """An overlay image for both architectures in a registry, whose index crane makes."""
    name = f"{registry.host}/overlay"
    for arch in ("amd64", "arm64"):
        layout = overlay_image(tmp_path / arch, PROFILES, arch=arch)
        target = f"docker://{name}:{arch}"
        tool("skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{layout}:v1", target)
    parts = [word for arch in ("amd64", "arm64") for word in ("-m", f"{name}:{arch}")]
    crane("index", "append", "--insecure", *parts, "-t", f"{name}:v1")
    return f"{name}:v1"


def test_an_installer_for_another_architecture(
    multi: str, assets: Path, registry: RunningRegistry, tmp_path: Path
) -> None:
    """The installer of this machine's is run, that of the other's is carried; each comes once."""
    layout = installer_base(tmp_path, arch="arm64")
    board = ("--overlay-image", multi, "--overlay-name", "board", "--insecure")
    base = ("--base-installer-image", f"oci:{layout}", "--assets", assets)
    target = f"{registry.host}/installer:v1"
    options = (*board, *base, "--talos-version", "v1.14.0", "--arch", "arm64")
    done = run("installer", *options, "--push", target, "--progress", "plain")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"opening {multi}\n") == 2, done.stderr
    assert crane("digest", "--insecure", target).strip() == done.stdout.strip().partition("@")[2]
    files = files_below(unpacked_installer(f"docker://{target}", tmp_path) / "overlay")
    assert files["installers/default"] == overlay_installer("arm64")


def test_an_installer_needs_an_overlay_of_its_architecture(
    assets: Path, overlay: str, tmp_path: Path
) -> None:
    layout = installer_base(tmp_path, arch="arm64")
    board = ("--overlay-image", overlay, "--overlay-name", "board", "--arch", "arm64")
    base = ("--base-installer-image", f"oci:{layout}", "--assets", assets, "--output", tmp_path)
    done = invoke("installer", *board, *base)
    assert done.exit_code == 2
    assert "is for amd64, but the installer is for arm64" in done.message
    assert "--overlay-image" in done.message
