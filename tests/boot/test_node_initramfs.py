"""A node boots from an ISO with a cache: does containerd pull from it, and runc run the image?

The kernel is started directly, and xorriso makes the ISO, so that nothing but the node is judged.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lib.machines.booting import boot
from tests.lib.machines.hardware import Device, Drive
from tests.lib.machines.kernels import direct
from tests.lib.machines.node import machine_config
from tests.lib.machines.node_machine import node_assets
from tests.lib.machines.runnable import RunnableImage, add_runnable
from tests.lib.tools.cli import tool

pytestmark = pytest.mark.boot
CONFIG = machine_config()
HELLO = RunnableImage("registry.k8s.io", "team/hello", "v1", says="hello from the cache", exits=3)
MEMORY = 384
CONFIGURED = r"^node: machine configuration: .*\n"


def make_iso(folder: Path, *, config: str | None, label: str = "TALOS_V1_9_0") -> Path:
    tree, iso = folder / "tree", folder / "node.iso"
    add_runnable(tree / "imagecache", HELLO)
    if config is not None:
        (tree / "config.yaml").write_text(config)
    tool("xorriso", "-as", "mkisofs", "-quiet", "-R", "-V", label, "-o", iso, tree)
    return iso


def node(*drives: Drive, arguments: tuple[str, ...], until: str | None = None) -> list[str]:
    """Return the lines on the console of a node that ends by itself, or has said `until`."""
    words = " ".join(("console=ttyS0 quiet imager.poweroff", *arguments))
    kernel = direct(node_assets() / "amd64", words)
    text = boot(*drives, by=kernel, memory=MEMORY, until=until)
    return [line.strip() for line in text.splitlines()]


def test_an_image_is_pulled_by_its_name_from_the_medium_and_run(tmp_path: Path) -> None:
    iso = make_iso(tmp_path, config=CONFIG)
    run = (f"imager.run={HELLO.reference}", "imager.run=registry.k8s.io/team/none:v1")
    lines = node(Drive(iso, Device.CD), arguments=run)
    config = "node: machine configuration: /dev/sr0, labelled TALOS_V1_9_0"
    ran = f"node: ran {HELLO.reference}: exit {HELLO.exits}"
    order = [config, "node: ready", f"node: pulled {HELLO.reference}", HELLO.says, ran]
    assert [line for line in lines if line in order] == order
    assert any(
        re.match(r"node: pull of registry\.k8s\.io/team/none:v1 failed: .+", line) for line in lines
    )
    assert not any(line.startswith("node: ran registry.k8s.io/team/none") for line in lines)


def test_a_volume_labelled_metal_iso_has_the_configuration(tmp_path: Path) -> None:
    """It goes before the one of the medium."""
    disk = tmp_path / "config.img"
    (tmp_path / "config.yaml").write_text(CONFIG)
    tool("mkfs.vfat", "-C", "-n", "metal-iso", disk, "4096", status=None)
    tool("mcopy", "-i", disk, tmp_path / "config.yaml", "::config.yaml")
    drives = (Drive(make_iso(tmp_path, config="not: used\n"), Device.CD), Drive(disk))
    lines = node(*drives, arguments=("talos.config=metal-iso",), until=CONFIGURED)
    assert "node: machine configuration: /dev/vda, labelled metal-iso" in lines


@pytest.mark.parametrize(
    ("config", "arguments", "said"),
    [
        (None, (), "no machine configuration: give it as talos.config.inline="),
        (CONFIG, ("talos.config=metal-iso",), "talos.config=metal-iso, but no volume"),
        (CONFIG, ("talos.config.inline=AAAA", "talos.config=metal-iso"), "talos.config.inline: "),
    ],
    ids=["none", "no volume", "nonsense"],
)
def test_what_is_missing_is_said(
    tmp_path: Path, config: str | None, arguments: tuple[str, ...], said: str
) -> None:
    """What comes first counts: no other configuration is taken in its place."""
    iso = Drive(make_iso(tmp_path, config=config), Device.CD)
    lines = node(iso, arguments=arguments)
    assert any(line.startswith(f"node: failed: {said}") for line in lines), lines
    assert not any(
        line.startswith(("node: machine configuration: ", "node: ready")) for line in lines
    )
