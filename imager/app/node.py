"""A machine's own image cache: serve it, and find what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imager.node import run
from imager.node.diagnosis import Finding
from imager.node.doctor import Surroundings, examine
from imager.node.mounts import Node
from imager.registry.address import Address
from imager.registry.app import Exchange
from imager.support.errors import HostError
from imager.support.inputs import input_name, read_input
from imager.support.reporter import QUIET, Reporter
from imager.talos.config.document import LARGEST_CONFIG, read_machine_config


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine: the file of its configuration (`-`: standard input), and its folders.

    Volumes are mounted in `mounts`; of the disks only `disks` are used, all without any.
    """

    config: str
    hosts: Path = Path("/etc/containerd/certs.d")
    state: Path = Path("/run/imager")
    mounts: Path = Path("/system/imagecache")
    disks: Sequence[Path] = ()

    def node(self) -> Node:
        """Return the machine as its configuration describes it; raises InputError."""
        text = read_input(self.config, what="machine configuration", limit=LARGEST_CONFIG)
        config = read_machine_config(text, source=input_name(self.config))
        # The kernel's names: people give links such as /dev/disk/by-id/...
        disks = tuple(path.resolve() for path in self.disks)
        return Node(config, self.mounts.absolute(), disks)


def run_node(
    machine: Machine,
    reporter: Reporter = QUIET,
    *,
    address: str = "127.0.0.1:3172",
    wait: float = 15,
    log: Callable[[Exchange], None] = lambda _: None,
) -> None:
    """Find, copy and serve the machine's image cache until SIGINT or SIGTERM.

    A medium may take `wait` seconds to appear. Raises as `imager.node.run.run_node`.
    """
    service = run.NodeService(Address.parse(address), machine.hosts, machine.state, wait)
    run.run_node(machine.node(), service, reporter=reporter, log=log)


def diagnose(
    machine: Machine, containerd_config: Path, reporter: Reporter = QUIET
) -> tuple[Finding, ...]:
    """Return what keeps the machine from pulling from its image cache; needs root (HostError)."""
    if os.geteuid() != 0:
        raise HostError(
            "imager node doctor needs root: it reads this machine's devices",
            hint="run it as root, such as with sudo",
        )
    around = Surroundings(machine.state, machine.hosts, containerd_config)
    return examine(machine.node(), around, reporter)
