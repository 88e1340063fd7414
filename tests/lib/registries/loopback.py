"""Running a server of the tests' own while a test uses it."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def serving_forever(server: socketserver.BaseServer) -> Iterator[None]:
    """Let `server` serve in a thread of its own until the context is left."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
