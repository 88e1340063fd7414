"""`imager node`: serve and diagnose a machine's own image cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from imager.cli.commands import App
from imager.cli.declare import option
from imager.cli.options import Display, Results
from imager.support.screen import printable
from imager.talos.constants import REGISTRY_ADDRESS

app = App()

_Config = Annotated[
    str, option("FILE|-", "Machine configuration; - is standard input.", "--config")
]
_State = Annotated[Path, option("FOLDER", "Folder of the status file.")]
_HostsDir = Annotated[Path, option("FOLDER", "Folder of containerd's hosts.toml files.")]
_Disks = Annotated[list[Path] | None, option("DEVICE", "Use only this disk.")]
_STATE = Path("/run/imager")
_HOSTS = Path("/etc/containerd/certs.d")


@app.command()
def run(
    *,
    config: _Config,
    address: Annotated[
        str, option("HOST:PORT", "Address to serve the cache on.")
    ] = REGISTRY_ADDRESS,
    hosts_dir: _HostsDir = _HOSTS,
    state: _State = _STATE,
    mounts: Annotated[Path, option("FOLDER", "Folder to mount volumes in.")] = Path(
        "/system/imagecache"
    ),
    disk: _Disks = None,
    wait: Annotated[float, option("SECONDS", "How long to wait for the boot medium.", min=0)] = 15,
    display: Display,
) -> None:
    """Find, copy and serve this machine's image cache until SIGINT or SIGTERM.

    Needs root to mount volumes.
    """
    from imager.app.node import Machine, run_node
    from imager.cli.serve_text import access_log

    machine = Machine(config, hosts_dir, state, mounts, disk or ())
    log = access_log(display.style)
    run_node(machine, display.reporter(), address=address, wait=wait, log=log)


@app.command()
def status(
    *,
    output: Annotated[
        Literal["table", "yaml", "json"], option(None, "Output format.", "--output", "-o")
    ] = "table",
    state: _State = _STATE,
    display: Results,
) -> None:
    """Show the status of this machine's image cache, with reasons."""
    from imager.cli.node_text import status_table, status_yaml
    from imager.node.status import is_running, read_status

    found = read_status(state)
    match "json" if display.json_output else output:
        case "table":
            typer.echo(printable("\n".join(status_table(found, running=is_running(state)))))
        case "yaml":
            typer.echo(status_yaml(found))
        case "json":
            display.print_json(found.document())


@app.command()
def doctor(
    *,
    config: _Config,
    hosts_dir: _HostsDir = _HOSTS,
    state: _State = _STATE,
    disk: _Disks = None,
    containerd_config: Annotated[Path, option("FILE", "containerd's configuration.")] = Path(
        "/etc/containerd/config.toml"
    ),
    display: Results,
) -> None:
    """Find what keeps this machine from pulling from its image cache, and how to fix it.

    Checks every blob. The exit code is 1 if there are problems. Needs root.
    """
    from imager.app.node import Machine, diagnose
    from imager.cli.node_text import findings_json, findings_text

    machine = Machine(config, hosts_dir, state, disks=disk or ())
    findings = diagnose(machine, containerd_config, display.reporter())
    show = display.answer if findings else display.summary
    show(findings_text, findings_json, findings)
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
    config: Annotated[Path, option("FILE", "Machine configuration.")] = Path(
        "/etc/imager/machine.yaml"
    ),
    display: Display,  # noqa: ARG001 - only the unit is printed
) -> None:
    """Print the systemd unit that runs `imager node run` before containerd and kubelet start."""
    from imager.cli.node_text import unit_text

    typer.echo(unit_text(config.absolute()), nl=False)
