"""Where fetched bytes go: files, memory, nowhere. All of them are a ByteSink."""

from __future__ import annotations

import os

from imager.content.copier import write_error
from imager.support.workers import Work


class FileSink:
    """Writes to an open file, from byte `offset` on; `work` counts every byte, and may end it."""

    def __init__(self, descriptor: int, offset: int, work: Work) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._work = work

    def write(self, data: bytes, /) -> None:
        """Write `data`, all of it; raises HostError when the disk is full, OutputError else.

        Raises CancelledError when the work is to end.
        """
        self._work.check()
        view = memoryview(data)
        try:
            while view:
                done = os.pwrite(self._descriptor, view, self._offset)
                self._offset += done
                view = view[done:]
        except OSError as error:
            raise write_error(error) from error
        self._work.advance(len(data))


class Buffer:
    """Keeps what it gets; its writer bounds that."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes, /) -> None:
        """Keep `data`."""
        self.data += data


class Discard:
    """Forgets what it gets, which is read only to be checked."""

    def write(self, data: bytes, /) -> None:
        """Forget `data`."""
