"""Keeps the status file current: the cache's state, and failed pulls."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

from imager.node.miss_log import Pulls
from imager.node.status import NodeStatus, write_status
from imager.registry.app import Exchange


class StatusBoard:
    """Writes the status to `folder` whenever it changes; thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pulls = Pulls()
        self._told = NodeStatus()
        self._written: NodeStatus | None = None
        self._lock = threading.Lock()

    def tell(self, status: NodeStatus) -> None:
        """Record a new status; raises HostError when it cannot be written."""
        with self._lock:
            self._told = status
            self._write()

    def note(self, exchange: Exchange) -> None:
        """Record an exchange with a client; raises HostError when the status cannot be written."""
        with self._lock:
            self._pulls.note(exchange)
            self._write()

    def _write(self) -> None:
        status = replace(self._told, absent=self._pulls.absent, damaged=self._pulls.damaged)
        if status != self._written:
            write_status(self._folder, status)
            self._written = status
