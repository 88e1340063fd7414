"""Sinks for fetched bytes: a file, or nowhere. Each class is a ByteSink."""

from __future__ import annotations

import os

from imager.content.copier import write_error
from imager.support.workers import Work


class FileSink:
    """Writes to an open file from byte `offset` on; `work` counts the bytes and may cancel."""

    def __init__(self, descriptor: int, offset: int, work: Work) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._work = work

    def write(self, data: bytes, /) -> None:
        """Write all of `data`; raises HostError when the disk is full, else OutputError.

        Raises CancelledError when the work is cancelled.
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


class Discard:
    """Discards bytes that are only read to be checked."""

    def write(self, data: bytes, /) -> None:
        """Discard `data`."""
