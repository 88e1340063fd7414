"""Finds what keeps a machine from pulling images out of its cache, and how to fix it.

It checks configuration, devices and blobs itself, whether or not the cache is being served.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import urllib3

from imager.cache.open import open_cache
from imager.node.blkid import ProbedVolume
from imager.node.containerd import reads_hosts
from imager.node.diagnosis import Finding
from imager.node.doctor_volumes import (
    content_findings,
    disk_volume,
    label_findings,
    opened_root,
)
from imager.node.mounts import Node
from imager.node.provision import plan_volume
from imager.node.run import switched_off
from imager.node.status import NodeStatus, is_running, read_status
from imager.node.sync import plan_copy
from imager.node.systemdisk import find_system_disk
from imager.node.volumes import iso_volumes, without_media
from imager.registry.containerd_hosts import writes_to
from imager.support.blockdevices import BlockDevice
from imager.support.errors import ImagerError
from imager.support.folders import free_space
from imager.support.reporter import Reporter
from imager.support.units import format_size

_ANSWER_SECONDS = 5


def examine(
    node: Node, reporter: Reporter, *, state: Path, hosts: Path, containerd: Path
) -> tuple[Finding, ...]:
    """Return all problems; empty when pulls are served from the cache.

    `state` is the folder of the status, `hosts` that of containerd's hosts.toml files, and
    `containerd` its configuration file, which may be missing. Raises HostError when
    the mounts cannot be listed.
    """
    devices = node.devices()
    disk, media = disk_volume(devices), list(iso_volumes(devices))
    findings = [*_switched_off(node), *label_findings(devices)]
    for volume in ([disk] if disk else []) + media:
        reporter.step(f"checking {volume.device.path}")
        findings += content_findings(volume, reporter)
    if media:
        findings += _room(disk, media) if disk else _to_make(node, without_media(devices, media))
    findings += _service(state)
    findings += _containerd(hosts, containerd)
    return tuple(dict.fromkeys(findings))


def _switched_off(node: Node) -> Iterator[Finding]:
    if not node.config.image_cache.enabled:
        yield Finding(
            switched_off(node.config).reason,
            "enable it with the patch that `imager config patch --image-cache PATH` prints",
        )


def _to_make(node: Node, devices: Sequence[BlockDevice]) -> Iterator[Finding]:
    """Yield a finding when the configured volume for the copy cannot be created."""
    if node.config.volume is None:
        return
    try:
        plan_volume(node.config.volume, devices, find_system_disk(devices, node.config))
    except ImagerError as error:
        yield Finding(
            f"no volume can be created for the image cache: {error.message}",
            error.hint or "correct the VolumeConfig IMAGECACHE, or give the machine a larger disk",
        )


def _room(disk: ProbedVolume, media: Sequence[ProbedVolume]) -> Iterator[Finding]:
    """Yield a finding for each cache that does not fit on the disk's volume."""
    for medium in media:
        with suppress(ImagerError), opened_root(disk) as target, opened_root(medium) as source:
            plan = plan_copy(open_cache(source).cache, target)
            free = free_space(target)
            if plan.missing > free:
                yield Finding(
                    f"{disk.device.path}: the cache on {medium.device.path} needs "
                    f"{format_size(plan.missing)}, but {format_size(free)} are free: the volume is "
                    f"too small by {format_size(plan.missing - free)}",
                    "enlarge it; `imager config patch --image-cache PATH` prints the size it needs",
                )


def _service(state: Path) -> Iterator[Finding]:
    try:
        status = read_status(state)
    except ImagerError as error:
        yield Finding(error.message, error.hint)
        return
    if not is_running(state):
        if status.url:
            yield Finding(
                "`imager node run` is not running, so nothing serves the cache",
                "start it, and check the end of its log: journalctl -u imager-node",
            )
        return
    yield from _pulls(status)
    if status.url and not _answers(status.url):
        yield Finding(
            f"{status.url} does not respond",
            "check the log of `imager node run`, and check that no firewall blocks loopback",
        )


def _pulls(status: NodeStatus) -> Iterator[Finding]:
    for reference in status.absent:
        yield Finding(
            f"{reference} was requested, but no cache has it",
            "add it to the list of `imager images cache-create`, and insert a stick or ISO with "
            "the new cache: it is copied from there",
        )
    for problem in status.damaged:
        yield Finding(problem, "insert the ISO or stick: its intact copy is then served")


def _answers(url: str) -> bool:
    try:
        with urllib3.PoolManager(retries=False, timeout=_ANSWER_SECONDS) as pool:
            return pool.request("GET", f"{url}/healthz").status == 200
    except urllib3.exceptions.HTTPError:
        return False


def _containerd(hosts: Path, config: Path) -> Iterator[Finding]:
    if not writes_to(hosts):
        yield Finding(
            f"{hosts} has no hosts.toml written by `imager node run`, so containerd uses no cache",
            "start `imager node run`, with --hosts-dir if containerd uses another folder",
        )
    if not reads_hosts(config, hosts):
        yield Finding(
            f"{config} does not contain the path {hosts}, so containerd does not read it",
            f'set config_path = "{hosts}" for the registries of its CRI plugin, and restart '
            "containerd",
        )
