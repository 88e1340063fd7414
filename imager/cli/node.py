"""`imager node`: a machine's own image cache."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from imager.cli.commands import App
from imager.cli.options import Display, Results
from imager.talos.constants import REGISTRY_ADDRESS

if TYPE_CHECKING:
    from imager.talos.config.document import MachineConfig

app = App()

_Config = Annotated[
    str,
    typer.Option("--config", metavar="FILE|-", help="Machine configuration; - is standard input."),
]
_State = Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the status file.")]
_HostsDir = Annotated[
    Path, typer.Option(metavar="FOLDER", help="Folder of containerd's hosts.toml files.")
]
_Disks = Annotated[
    list[Path] | None,
    typer.Option(metavar="DEVICE", help="Use only this disk."),
]
_Mounts = Annotated[Path, typer.Option(metavar="FOLDER", help="Folder to mount volumes in.")]
_MOUNTS = Path("/system/imagecache")
_STATE = Path("/run/imager")
_HOSTS = Path("/etc/containerd/certs.d")


@app.command()
def run(
    *,
    config: _Config,
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to serve the cache.")
    ] = REGISTRY_ADDRESS,
    hosts_dir: _HostsDir = _HOSTS,
    state: _State = _STATE,
    mounts: _Mounts = _MOUNTS,
    disk: _Disks = None,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long to wait for a medium.")
    ] = 15,
    display: Display,
) -> None:
    """Find, copy and serve this machine's image cache, until a signal ends it.

    Needs root, for mounting volumes.
    """
    from imager.cli.serve_text import access_log
    from imager.node.mounts import Node
    from imager.node.run import NodeService, run_node
    from imager.registry.address import Address

    run_node(
        Node(_read_config(config), mounts.absolute(), _resolved(disk)),
        NodeService(Address.parse(address), hosts_dir, state, wait),
        reporter=display.reporter(),
        log=access_log(display.style),
    )


@app.command()
def status(
    *,
    output: Annotated[
        Literal["table", "yaml", "json"], typer.Option("--output", "-o", help="How to print it.")
    ] = "table",
    state: _State = _STATE,
    display: Results,
) -> None:
    """Show the state of this machine's image cache, and the reasons for it."""
    from imager.cli.node_text import status_json, status_table, status_yaml
    from imager.node.status import is_running, read_status

    found = read_status(state)
    match "json" if display.json_output else output:
        case "table":
            typer.echo(status_table(found, running=is_running(state)))
        case "yaml":
            typer.echo(status_yaml(found))
        case "json":
            typer.echo(status_json(found))


@app.command()
def doctor(
    *,
    config: _Config,
    hosts_dir: _HostsDir = _HOSTS,
    state: _State = _STATE,
    disk: _Disks = None,
    containerd_config: Annotated[
        Path, typer.Option(metavar="FILE", help="containerd's configuration.")
    ] = Path("/etc/containerd/config.toml"),
    display: Results,
) -> None:
    """Find what keeps this machine from pulling from its image cache, and how to fix it.

    Every blob is checked. The exit code is 1 if something is wrong. Needs root.
    """
    from imager.cli.node_text import findings_json, findings_text
    from imager.node.doctor import Surroundings, examine
    from imager.node.mounts import Node
    from imager.support.errors import HostError

    if os.geteuid() != 0:
        raise HostError(
            "imager node doctor needs root: it reads this machine's devices",
            hint="run it as root, such as with sudo",
        )
    findings = examine(
        Node(_read_config(config), _MOUNTS, _resolved(disk)),
        Surroundings(state, hosts_dir, containerd_config),
        display.reporter(),
    )
    show = display.answer if findings else display.summary
    show(lambda: findings_text(findings), lambda: findings_json(findings))
    if findings:
        raise typer.Exit(1)


@app.command(
    epilog="""
        Example:
          imager node unit > /etc/systemd/system/imager-node.service
    """
)
def unit(
    *,
    config: Annotated[Path, typer.Option(metavar="FILE", help="Machine configuration.")] = Path(
        "/etc/imager/machine.yaml"
    ),
    display: Display,  # noqa: ARG001 - the unit is all that is printed
) -> None:
    """Print the systemd unit that runs `imager node run` before containerd and kubelet start."""
    from imager.cli.node_text import unit_text

    typer.echo(unit_text(config.absolute()), nl=False)


def _read_config(source: str) -> MachineConfig:
    from imager.support.inputs import input_name, read_input
    from imager.talos.config.document import LARGEST_CONFIG, read_machine_config

    text = read_input(source, what="machine configuration", limit=LARGEST_CONFIG)
    return read_machine_config(text, source=input_name(source))


def _resolved(disks: list[Path] | None) -> tuple[Path, ...]:
    """Return disks as the kernel names them: people give links such as /dev/disk/by-id/..."""
    return tuple(path.resolve() for path in disks or ())
