"""Notifies systemd of the state of the service, with the protocol of sd_notify(3).

https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(*assignments: str) -> None:
    """Send assignments such as `READY=1`; does nothing unless systemd requests notifications."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place.startswith(("/", "@")):
        return
    address = f"\0{place[1:]}" if place.startswith("@") else place
    # A failure to notify does not stop the server.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto("\n".join(assignments).encode(), address)
