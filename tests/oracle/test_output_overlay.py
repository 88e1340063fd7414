"""Disks for boards: sgdisk and mtools find what the installer of an overlay image added."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.lib.tools.cli import MIB, built_tools, cut, invoke, partitions, synthetic_assets, tool

pytestmark = pytest.mark.oracle
FIRMWARE = b"u-boot" * 1000
INSTALLERS = built_tools() / "overlay"


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("assets")
    synthetic_assets(folder, arch="arm64")
    return synthetic_assets(folder)


@pytest.fixture(scope="module")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An overlay image, as umoci makes it."""
    folder = tmp_path_factory.mktemp("overlay")
    artifacts, installers = folder / "artifacts", folder / "installers"
    artifacts.mkdir()
    installers.mkdir()
    (artifacts / "firmware.bin").write_bytes(FIRMWARE)
    shutil.copy(INSTALLERS / "amd64", installers / "board")
    layout = folder / "image"
    tool("umoci", "init", "--layout", layout)
    tool("umoci", "new", "--image", f"{layout}:x")
    layer = folder / "layer.tar"
    tool("tar", "-C", folder, "-cf", layer, artifacts.name, installers.name)
    tool("umoci", "raw", "add-layer", "--image", f"{layout}:x", layer)
    tool("umoci", "config", "--image", f"{layout}:x", "--architecture", "amd64")
    return f"oci:{layout}"


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
        file.seek(32768)
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
    assert [(each["offset"], each["length"]) for each in found] == [(32768, 6144)]


def test_an_overlay_without_an_image(assets: Path, tmp_path: Path) -> None:
    done = invoke("metal", "--assets", assets, "--overlay-name", "x", "--output", tmp_path)
    assert done.exit_code == 2
    assert "an overlay needs an image" in done.message
    assert "--overlay-image" in done.message
