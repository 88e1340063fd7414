"""Keeps a machine's image cache: finds volumes, copies, serves and reports them.

The server polls the keeper for its roots; on each poll the keeper looks for devices that were added
or removed. New roots are served first, and copied from afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from imager.node.mounts import AttachedVolumes, Node
from imager.node.status import CacheStatus, CopyStatus, NodeStatus, RootStatus
from imager.node.sync_scheduler import CopyState, MediaCopies
from imager.node.volumes import CacheVolume, Role
from imager.registry.roots import Root, open_root, stamp_of
from imager.support.reporter import Reporter

NOTHING_FOUND = (
    "no image cache found: no partition labelled IMAGECACHE, and no iso9660 or vfat volume whose "
    "label starts with TALOS_ and that has a folder imagecache/"
)
_TOLD_SECONDS = 10.0


class CacheKeeper:
    """The roots that a machine serves, a RootSource; calls `tell` with each new status.

    If no medium appears within `wait` seconds, the cache is disabled until one appears.
    """

    def __init__(
        self,
        node: Node,
        reporter: Reporter,
        *,
        wait: float,
        tell: Callable[[NodeStatus], None],
    ) -> None:
        self._volumes = AttachedVolumes(node, reporter)
        self._copies = MediaCopies(self._volumes, reporter, tell=self._tell_copy)
        self._reporter = reporter
        self._wait = wait
        self._tell = tell
        self._started = time.monotonic()
        self._told = self._started
        self._status = NodeStatus(CacheStatus.PREPARING)
        self._served: Mapping[Path, CacheVolume] = {}

    @property
    def settled(self) -> bool:
        """Whether the cache is ready and no further copy will start, or the cache is disabled."""
        if self._status.status is CacheStatus.READY:
            return self._copies.settled
        return self._status.status is CacheStatus.DISABLED

    def open(self) -> tuple[Root, ...]:
        """Return the roots that can be served at once."""
        self._reporter.step("waiting for the image cache")
        return self.renew(())

    def renew(self, roots: tuple[Root, ...]) -> tuple[Root, ...]:
        """Return the current roots, after making a copy to the disk if one is due."""
        if self._volumes.look():
            self._copies.devices_changed()
        found = self._opened(roots)
        if found == roots and self._copies.due:
            self._copies.run()
            found = self._opened(roots)
        self._judge(found)
        return found

    def close(self) -> None:
        """Cancel a running copy."""
        self._copies.end()

    def serving_at(self, url: str) -> None:
        """Record the server's URL; the cache can become ready from then on."""
        self._status = replace(self._status, url=url)

    def release(self) -> None:
        """Unmount all volumes."""
        self._volumes.release()

    def _opened(self, roots: tuple[Root, ...]) -> tuple[Root, ...]:
        before, now = self._served, self._volumes.by_root
        self._served = now
        # Do not reuse the root of a medium that was replaced by another with the same appearance.
        known = {root.path: root for root in roots if before[root.path] == now.get(root.path)}
        return tuple(
            root if (root := known.get(path)) and not root.has_changed else _open(volume)
            for path, volume in now.items()
        )

    def _judge(self, roots: tuple[Root, ...]) -> None:
        before = self._status
        status, reason = self._state_of(roots)
        by_root = self._volumes.by_root
        self._set(
            replace(
                self._status,
                status=status,
                reason=reason,
                roots=tuple(_root_status(root, by_root[root.path]) for root in roots),
            )
        )
        self._tell_copy(self._copies.state)
        self._report(before)

    def _state_of(self, roots: tuple[Root, ...]) -> tuple[CacheStatus, str]:
        """Return the status of the cache with these roots, and the reason."""
        problems = [problem.message for root in roots for problem in root.problems]
        problems += self._volumes.problems
        if any(root.cache is not None or not root.problems for root in roots):
            if not self._status.url:
                return CacheStatus.PREPARING, "the server is starting"
            return CacheStatus.READY, "; ".join(problems)
        waited = time.monotonic() - self._started
        status = CacheStatus.DISABLED if waited >= self._wait else CacheStatus.PREPARING
        return status, "; ".join(problems if roots else [NOTHING_FOUND, *problems])

    def _report(self, before: NodeStatus) -> None:
        """Report a change of the status, and repeatedly why the cache is not ready yet."""
        status, now = self._status, time.monotonic()
        if status.status is not before.status:
            fields = {"reason": status.reason} if status.reason else {}
            self._reporter.step(f"image cache {status.status.value}", **fields)
        elif status.status is CacheStatus.PREPARING and now - self._told >= _TOLD_SECONDS:
            self._told = now
            self._reporter.step("waiting for the image cache", reason=status.reason)
        if status.copy_status is CopyStatus.SKIPPED is not before.copy_status:
            self._reporter.step("image cache copy skipped", reason=status.copy_reason)

    def _tell_copy(self, state: CopyState) -> None:
        self._set(replace(self._status, **asdict(state)))

    def _set(self, status: NodeStatus) -> None:
        if status != self._status:
            self._status = status
            self._tell(status)


def _open(volume: CacheVolume) -> Root:
    """Open the cache of a volume; a disk volume without a copy is not a problem."""
    root = volume.root
    if volume.role is Role.DISK and not (root / "manifests").is_dir():
        return Root(root, stamp_of(root), None, ())
    return open_root(root)


def _root_status(root: Root, volume: CacheVolume) -> RootStatus:
    cache = root.cache
    counts = (len(cache.images), len(cache.blobs), cache.size) if cache else (0, 0, 0)
    return RootStatus(
        str(root.path),
        str(volume.device.path),
        volume.volume.filesystem,
        volume.volume.label,
        *counts,
        "; ".join(problem.message for problem in root.problems),
    )
