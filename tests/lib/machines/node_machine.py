"""The node of `imager assets fetch --flavor node` in QEMU, without a network, and what it says."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from tests.lib.machines.booting import boot
from tests.lib.machines.hardware import Drive
from tests.lib.machines.kernels import direct
from tests.lib.machines.qemu import BootError
from tests.lib.tools.cli import REPOSITORY

_STATUS = re.compile(r"^node: status (\{.*\})\s*$", re.MULTILINE)
_RAN = re.compile(r"^node: ran (\S+): exit ([0-9]+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Told:
    """What a node has said until it was off."""

    text: str

    @property
    def spec(self) -> dict[str, Any]:
        """The status at the end."""
        found = _STATUS.search(self.text)
        if found is None:
            raise BootError(f"no line `node: status`; the console ends:\n{self.text[-3000:]}")
        spec: dict[str, Any] = json.loads(found[1])["spec"]
        return spec

    @property
    def ran(self) -> dict[str, int]:
        """The exit codes of the images that were run."""
        return {reference: int(code) for reference, code in _RAN.findall(self.text)}

    def says(self, *lines: str) -> bool:
        """Whether it has said what begins with each of `lines`, in their order."""
        position = 0
        for line in lines:
            found = re.compile(rf"^{re.escape(line)}", re.MULTILINE).search(self.text, position)
            if found is None:
                return False
            position = found.end()
        return True


def node_assets() -> Path:
    """Return the folder with the node's boot assets."""
    folder = Path(os.environ.get("IMAGER_ASSETS") or REPOSITORY / ".cache/assets") / "node"
    assert (folder / "amd64/vmlinuz").is_file(), f"no boot assets in {folder}: see the Makefile"
    return folder


def inline_config(config: str) -> str:
    """Return the kernel argument that is a machine configuration."""
    packed = base64.b64encode(zstandard.compress(config.encode())).decode()
    return f"talos.config.inline={packed}"


def node_arguments(config: str, *, run: Iterable[str] = ()) -> list[str]:
    """Return kernel arguments: the machine configuration, and what is done before it goes off."""
    return [
        "console=ttyS0",
        inline_config(config),
        *(f"imager.run={reference}" for reference in run),
        "imager.poweroff",
    ]


def boot_node(arguments: list[str], *drives: Drive) -> Told:
    """Start the node's kernel directly and return what it says."""
    kernel = direct(node_assets() / "amd64", " ".join(("quiet", *arguments)))
    return Told(boot(*drives, by=kernel))


def boot_by_firmware(*drives: Drive) -> Told:
    """Start a node by its firmware from the first of its drives, and return what it says."""
    return Told(boot(*drives))
