"""Read parts of a file at an HTTPS URL by range requests (RFC 9110, section 14).

Parts are kept in a sparse file, so that each is transferred once. A file that changes meanwhile is
noticed by its size and its validators.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from imager.oci.errors import NotFoundError, RegistryFailedError
from imager.oci.retry import Patience, insist
from imager.oci.tracing import public_url
from imager.oci.transport import Response, Transport, read_bounded
from imager.support.descriptors import MADE, opened
from imager.support.errors import UnsupportedError, no_room
from imager.support.units import MIB, format_size

_BLOCK = 64 << 10
# What one request transfers at most.
_LARGEST_REQUEST = 8 * MIB
# Reads that follow each other are extended up to this.
_LONGEST_AHEAD = 1 * MIB
_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", re.ASCII)
_VALIDATORS = ("ETag", "Last-Modified")


class RemoteFile:
    """A file at an HTTPS URL, of which at most `budget` bytes are fetched; a `Fetched`."""

    def __init__(
        self, url: str, path: Path, transport: Transport, *, patience: Patience, budget: int
    ) -> None:
        """Ask for the first bytes, and keep them in the new file `path`.

        Raises NotFoundError, UnsupportedError for a server without range requests, DependencyError
        if it fails.
        """
        self.url = public_url(url)
        self.transferred = 0
        self._url = url
        self._path = path
        self._transport = transport
        self._patience = patience
        self._budget = budget
        self._blocks: set[int] = set()
        self._next = 0
        self._ahead = _BLOCK
        self.size = -1
        self._validators: tuple[str, ...] = ()
        with opened(path, MADE | os.O_EXCL):
            pass
        self._request(0, _BLOCK)

    @property
    def path(self) -> Path:
        """The sparse file with the parts that are there."""
        return self._path

    def fetch(self, offset: int, length: int) -> None:
        """Make sure that a part is in the file; see `Fetched`."""
        end = min(offset + length, self.size)
        if offset >= end:
            return
        missing = [
            block
            for block in range(offset // _BLOCK, (end - 1) // _BLOCK + 1)
            if block not in self._blocks
        ]
        if not missing:
            return
        # Folders and tables are read piece by piece.
        self._ahead = min(2 * self._ahead, _LONGEST_AHEAD) if missing[0] == self._next else _BLOCK
        for first, last in _runs(missing):
            start = first * _BLOCK
            stop = (last + 1) * _BLOCK
            if last == missing[-1]:
                stop = max(stop, start + self._ahead)
            for part in range(start, min(stop, self.size), _LARGEST_REQUEST):
                self._request(part, min(_LARGEST_REQUEST, stop - part))
        self._next = max(self._blocks) + 1 if missing[-1] + 1 in self._blocks else missing[-1] + 1

    def _request(self, start: int, length: int) -> None:
        stop = start + length if self.size < 0 else min(start + length, self.size)
        if self.transferred + stop - start > self._budget:
            raise UnsupportedError(
                f"{self.url}: reading it would transfer more than {format_size(self._budget)}",
                hint="download the file, and give its path",
            )
        data = insist(lambda: self._ask(start, stop), self._patience)
        try:
            with opened(self._path, os.O_WRONLY) as descriptor:
                os.pwrite(descriptor, data, start)
                # The holes are parts that are not there yet.
                os.ftruncate(descriptor, self.size)
        except OSError as error:
            raise no_room(error, self._path.parent) or error from error
        self.transferred += len(data)
        end = start + len(data)
        whole = range(start // _BLOCK, -(-end // _BLOCK) if end == self.size else end // _BLOCK)
        self._blocks |= set(whole)

    def _ask(self, start: int, stop: int) -> bytes:
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        with self._transport.request("GET", self._url, headers=headers) as response:
            total = self._total(response, start, stop)
            data = read_bounded(response, stop - start)
        validators = tuple(response.headers.get(name, "") for name in _VALIDATORS)
        if self.size < 0:
            self.size, self._validators = total, validators
        elif (total, validators) != (self.size, self._validators):
            raise RegistryFailedError(f"{self.url} has changed while it was read")
        if len(data) != min(stop, self.size) - start:
            raise RegistryFailedError(
                f"{self.url}: the server sent {len(data)} bytes instead of a range",
                hint="try again, or download the file",
            )
        return data

    def _total(self, response: Response, start: int, stop: int) -> int:
        """Return the size of the whole file; raises for any response but the range."""
        found = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if response.status == 206 and found and int(found[1]) == start and int(found[2]) < stop:
            return int(found[3])
        if response.status == 200:
            raise UnsupportedError(
                f"{self.url}: the server does not support range requests",
                hint="download the file, and give its path",
            )
        if response.status in (404, 410):
            raise NotFoundError(f"{self.url} does not exist: HTTP {response.status}")
        raise RegistryFailedError(
            f"{self.url}: the server answers a range request with HTTP {response.status}",
            hint="check the URL, or download the file",
        )


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last of the numbers that follow each other."""
    first = last = numbers[0]
    for number in numbers[1:]:
        if number != last + 1:
            yield first, last
            first = number
        last = number
    yield first, last
