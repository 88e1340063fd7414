"""`imager node`: a machine's own image cache."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imager.cli.options import Progress, Quiet
from imager.reporter import ProgressStyle, make_reporter

if TYPE_CHECKING:
    from imager.machineconfig.settings import MachineConfig

app = typer.Typer(no_args_is_help=True)

_Config = Annotated[
    str,
    typer.Option("--config", metavar="FILE|-", help="Machine configuration; - is standard input."),
]
_State = Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the status.")]
_HostsDir = Annotated[
    Path, typer.Option(metavar="FOLDER", help="containerd's folder of hosts.toml files.")
]
_Disks = Annotated[
    list[Path] | None,
    typer.Option(metavar="DEVICE", help="Use this disk, and no others. May be repeated."),
]
_Mounts = Annotated[
    Path, typer.Option(metavar="FOLDER", help="Folder in which volumes are mounted.")
]
_MOUNTS = Path("/system/imagecache")
_STATE = Path("/run/imager")
_HOSTS = Path("/etc/containerd/certs.d")
_ADDRESS = "127.0.0.1:3172"


class StatusFormat(enum.Enum):
    """How a status is printed."""

    TABLE = "table"
    YAML = "yaml"
    JSON = "json"


@app.command()
def run(
    *,
    config: _Config,
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to serve the cache.")
    ] = _ADDRESS,
    hosts_dir: _HostsDir = _HOSTS,
    state: _State = _STATE,
    mounts: _Mounts = _MOUNTS,
    disk: _Disks = None,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long a medium may take to come.")
    ] = 15,
    quiet: Quiet = False,
    progress: Progress = ProgressStyle.AUTO,
) -> None:
    """Find, copy and serve this machine's image cache, until it is told to end.

    Needs root, for mounting volumes.
    """
    from imager.cli.serve_text import access_log
    from imager.node.attached import Node
    from imager.node.run import NodeService, run_node
    from imager.server.address import Address

    style = ProgressStyle.NONE if quiet else progress
    run_node(
        Node(_read_config(config), mounts.absolute(), _resolved(disk)),
        NodeService(Address.parse(address), hosts_dir, state, wait),
        reporter=make_reporter(style),
        log=access_log(style),
    )


@app.command()
def status(
    *,
    output: Annotated[
        StatusFormat, typer.Option("--output", "-o", help="How it is printed.")
    ] = StatusFormat.TABLE,
    state: _State = _STATE,
) -> None:
    """Show what became of this machine's image cache, and why."""
    from imager.cli.node_text import status_json, status_table, status_yaml
    from imager.node.status import is_running, read_status

    found = read_status(state)
    match output:
        case StatusFormat.TABLE:
            typer.echo(status_table(found, running=is_running(state)))
        case StatusFormat.YAML:
            typer.echo(status_yaml(found))
        case StatusFormat.JSON:
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
    progress: Progress = ProgressStyle.AUTO,
) -> None:
    """Say what keeps this machine from pulling out of its image cache, and what to do.

    Every blob is checked. The exit code is 1 when something is wrong. Needs root.
    """
    from imager.cli.node_text import findings_text
    from imager.node.attached import Node
    from imager.node.doctor import Surroundings, examine

    findings = examine(
        Node(_read_config(config), _MOUNTS, _resolved(disk)),
        Surroundings(state, hosts_dir, containerd_config),
        make_reporter(progress),
    )
    typer.echo(findings_text(findings))
    if findings:
        raise typer.Exit(1)


@app.command()
def unit(
    *,
    config: Annotated[Path, typer.Option(metavar="FILE", help="Machine configuration.")] = Path(
        "/etc/imager/machine.yaml"
    ),
) -> None:
    """Print the unit that has systemd keep the cache, before containerd and kubelet start.

    imager node unit > /etc/systemd/system/imager-node.service
    """
    from imager.cli.node_text import unit_text

    typer.echo(unit_text(config.absolute()), nl=False)


def _read_config(source: str) -> MachineConfig:
    from imager.machineconfig.settings import LARGEST_CONFIG, read_machine_config
    from imager.textinput import input_name, read_input

    text = read_input(source, what="machine configuration", limit=LARGEST_CONFIG)
    return read_machine_config(text, source=input_name(source))


def _resolved(disks: list[Path] | None) -> tuple[Path, ...]:
    """Return disks as the kernel names them: people give links such as /dev/disk/by-id/..."""
    return tuple(path.resolve() for path in disks or ())
