"""Serve and diagnose a machine's own image cache."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imager.node import run
from imager.node.diagnosis import Finding
from imager.node.doctor import examine
from imager.node.mounts import Node
from imager.registry.address import Address
from imager.registry.app import Exchange
from imager.support.errors import HostError
from imager.support.inputs import input_name, read_input
from imager.support.reporter import QUIET, Reporter
from imager.talos.config.document import LARGEST_CONFIG, read_machine_config
from imager.talos.constants import REGISTRY_ADDRESS


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine: its configuration file (`-` is standard input) and its folders.

    Volumes are mounted in `mounts`. Only `disks` are used, or all disks if it is empty.
    """

    config: str
    hosts: Path = Path("/etc/containerd/certs.d")
    state: Path = Path("/run/imager")
    mounts: Path = Path("/system/imagecache")
    disks: Sequence[Path] = ()

    def node(self) -> Node:
        """Read the configuration and return the Node; raises InputError."""
        text = read_input(self.config, what="machine configuration", limit=LARGEST_CONFIG)
        config = read_machine_config(text, source=input_name(self.config))
        # Resolve links such as /dev/disk/by-id/... to kernel names.
        disks = tuple(path.resolve() for path in self.disks)
        return Node(config, self.mounts.absolute(), disks)


def run_node(
    machine: Machine,
    reporter: Reporter = QUIET,
    *,
    address: str = REGISTRY_ADDRESS,
    wait: float = 15,
    log: Callable[[Exchange], None] = lambda _: None,
) -> None:
    """Find, copy and serve the machine's image cache until SIGINT or SIGTERM.

    Waits up to `wait` seconds for the boot medium. Raises as `imager.node.run.run_node`.
    """
    service = run.NodeService(Address.parse(address), machine.hosts, machine.state, wait)
    run.run_node(machine.node(), service, reporter=reporter, log=log)


def diagnose(
    machine: Machine, containerd_config: Path, reporter: Reporter = QUIET
) -> tuple[Finding, ...]:
    """Return the reasons why the machine cannot pull from its image cache.

    Raises HostError without root privileges.
    """
    if os.geteuid() != 0:
        raise HostError(
            "imager node doctor needs root: it reads this machine's devices",
            hint="run it as root, such as with sudo",
        )
    return examine(
        machine.node(),
        reporter,
        state=machine.state,
        hosts=machine.hosts,
        containerd=containerd_config,
    )
