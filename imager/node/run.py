"""Runs a machine's image cache: `imager node run`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imager.node.mounts import Node
from imager.node.status import CacheStatus, CopyStatus, NodeStatus, only_run, write_status
from imager.node.status_writer import StatusBoard
from imager.node.supervisor import CacheKeeper
from imager.registry.address import Address
from imager.registry.announce import Announcement
from imager.registry.app import Exchange
from imager.registry.notify import notify
from imager.registry.serve import Service, Serving, run_service
from imager.support.reporter import Reporter
from imager.talos.config.document import MachineConfig


@dataclass(frozen=True, slots=True)
class NodeService:
    """The address of a machine's cache, and the folders that announce it.

    `hosts_folder` is containerd's, `state` the folder of the status; `wait` is the timeout in
    seconds for a medium to appear.
    """

    address: Address
    hosts_folder: Path
    state: Path
    wait: float


def run_node(
    node: Node, service: NodeService, *, reporter: Reporter, log: Callable[[Exchange], None]
) -> None:
    """Serve the machine's image cache until SIGINT or SIGTERM; returns at once when it is off.

    Raises HostError when another run holds the state, the status cannot be written, or it cannot
    listen on the address; InputError for hosts files that imager did not write.
    """
    with only_run(service.state):
        if node.config.image_cache.enabled:
            _serve(node, service, reporter, log)
            return
        status = switched_off(node.config)
        write_status(service.state, status)
        reporter.step("image cache disabled", reason=status.reason)
        notify("READY=1", f"STATUS={status.reason}")


def switched_off(config: MachineConfig) -> NodeStatus:
    """Return the status of a machine whose configuration does not enable the cache."""
    settings = config.image_cache
    said = f"{settings.where} is false" if settings.where else "no setting enables the image cache"
    return NodeStatus(
        CacheStatus.DISABLED,
        f"{config.source}:{settings.line}: {said}",
        CopyStatus.SKIPPED,
        "the image cache is disabled",
    )


def _serve(
    node: Node, service: NodeService, reporter: Reporter, log: Callable[[Exchange], None]
) -> None:
    board = StatusBoard(service.state)
    board.tell(NodeStatus(CacheStatus.PREPARING))
    keeper = CacheKeeper(node, reporter, wait=service.wait, tell=board.tell)
    announcement = Announcement(hosts_folder=service.hosts_folder)

    def announce(serving: Serving) -> None:
        url = serving.address.url(tls=False)
        announcement.write(serving.catalog.registries, url)
        keeper.serving_at(url)
        reporter.step(f"serving on {url}")

    def noted(exchange: Exchange) -> None:
        board.note(exchange)
        log(exchange)

    try:
        run_service(
            Service(keeper, service.address),
            reporter=reporter,
            log=noted,
            announce=announce,
        )
    finally:
        keeper.release()
