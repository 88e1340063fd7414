"""The unit of systemd that keeps a machine's cache; systemd itself judges it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lib.tools.cli import run, tool


def unit(folder: Path, config: str) -> Path:
    """Have the unit made, and units of those that wait for it."""
    done = run("node", "unit", "--config", config)
    assert done.returncode == 0, done.stderr
    path = folder / "imager-node.service"
    path.write_text(done.stdout)
    return path


@pytest.mark.parametrize("config", ["/etc/imager/machine.yaml", '/etc/a "b" 100% $c/ü.yaml'])
def test_systemd_takes_the_unit(tmp_path: Path, config: str) -> None:
    path = unit(tmp_path, config)
    assert tool("systemd-analyze", "verify", "--man=no", path) == ""
    path.write_text(path.read_text().replace("Type=notify", "Type=notifies"))
    assert "notifies" in tool("systemd-analyze", "verify", "--man=no", path, status=None)


def test_it_is_ready_before_containerd_and_kubelet_start(tmp_path: Path) -> None:
    lines = unit(tmp_path, "/etc/machine.yaml").read_text().splitlines()
    assert "Type=notify" in lines
    (before,) = [line for line in lines if line.startswith("Before=")]
    assert {"containerd.service", "kubelet.service"} <= set(before[7:].split())


def test_systemd_reads_the_command_as_it_is_meant(tmp_path: Path) -> None:
    """By what it says of a program that is not there."""
    path = unit(tmp_path, "/etc/machine.yaml")
    text = path.read_text()
    start = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    odd = "/no such/100%%/python"
    path.write_text(text.replace(start, f'ExecStart="{odd}" -m imager'))
    said = tool("systemd-analyze", "verify", "--man=no", path, status=None)
    assert "/no such/100%/python is not executable" in said
