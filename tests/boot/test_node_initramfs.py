"""A node boots from an ISO with a cache: does containerd pull from it, and runc run the image?

The kernel is started directly, and xorriso makes the ISO, so that nothing but the node is judged.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lib.machines.node import machine_config
from tests.lib.machines.node_machine import inline_config, node_assets
from tests.lib.machines.qemu import Device, Kernel, boot
from tests.lib.machines.runnable import RunnableImage, add_runnable
from tests.lib.tools.cli import tool

pytestmark = pytest.mark.boot
CONFIG = machine_config()
HELLO = RunnableImage("registry.k8s.io", "team/hello", "v1", says="hello from the cache", exits=3)
MEMORY = 384
SECONDS = 240


def make_iso(folder: Path, *, config: str | None, label: str = "TALOS_V1_9_0") -> Path:
    tree, iso = folder / "tree", folder / "node.iso"
    add_runnable(tree / "imagecache", HELLO)
    if config is not None:
        (tree / "config.yaml").write_text(config)
    tool("xorriso", "-as", "mkisofs", "-quiet", "-R", "-V", label, "-o", iso, tree)
    return iso


def node(image: Path, *arguments: str, disk: Path | None = None) -> list[str]:
    """Return the lines on the console of a node that ends by itself."""
    assets = node_assets() / "amd64"
    words = " ".join(("console=ttyS0 quiet imager.poweroff", *arguments))
    kernel = Kernel(assets / "vmlinuz", assets / "initramfs.xz", words)
    text = boot(image, Device.CD, kernel=kernel, disk=disk, memory=MEMORY, seconds=SECONDS)
    return [line.strip() for line in text.splitlines()]


def test_an_image_is_pulled_by_its_name_from_the_medium_and_run(tmp_path: Path) -> None:
    iso = make_iso(tmp_path, config=CONFIG)
    lines = node(iso, f"imager.run={HELLO.reference}", "imager.run=registry.k8s.io/team/none:v1")
    config = "node: machine configuration: /dev/sr0, labelled TALOS_V1_9_0"
    ran = f"node: ran {HELLO.reference}: exit {HELLO.exits}"
    order = [config, "node: ready", f"node: pulled {HELLO.reference}", HELLO.says, ran]
    assert [line for line in lines if line in order] == order
    assert any(
        re.match(r"node: pull of registry\.k8s\.io/team/none:v1 failed: .+", line) for line in lines
    )
    assert not any(line.startswith("node: ran registry.k8s.io/team/none") for line in lines)


def test_a_configuration_on_the_command_line_goes_before_one_on_the_medium(tmp_path: Path) -> None:
    iso = make_iso(tmp_path, config="not: used\n")
    lines = node(iso, inline_config(CONFIG), f"imager.run={HELLO.reference}")
    assert "node: machine configuration: argument talos.config.inline" in lines
    assert f"node: ran {HELLO.reference}: exit {HELLO.exits}" in lines


def test_a_volume_labelled_metal_iso_has_the_configuration(tmp_path: Path) -> None:
    disk = tmp_path / "config.img"
    (tmp_path / "config.yaml").write_text(CONFIG)
    tool("mkfs.vfat", "-C", "-n", "metal-iso", disk, "4096", status=None)
    tool("mcopy", "-i", disk, tmp_path / "config.yaml", "::config.yaml")
    lines = node(make_iso(tmp_path, config=None), "talos.config=metal-iso", disk=disk)
    assert "node: machine configuration: /dev/vda, labelled metal-iso" in lines


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "node: failed: no machine configuration: give it as talos.config.inline="),
        (("talos.config=metal-iso",), "node: failed: talos.config=metal-iso, but no volume"),
        (("talos.config.inline=AAAA",), "node: failed: talos.config.inline: "),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    lines = node(make_iso(tmp_path, config=None), *arguments)
    assert any(line.startswith(said) for line in lines), lines
    assert "node: ready" not in lines
