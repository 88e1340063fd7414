"""What several tests need: contents as files, written without the engine under test."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from imager.content.extents import Content, Data, Extent, FileRange


def extent_bytes(extent: Extent) -> bytes:
    """Return the bytes of an extent, read the plain way."""
    match extent.source:
        case Data(data, offset):
            return data[offset : offset + extent.length]
        case FileRange(path, offset):
            with path.open("rb") as file:
                file.seek(offset)
                return file.read(extent.length)
        case source:
            raise TypeError(f"{source} is not a plain source")


def write_content(content: Content, path: Path) -> Path:
    """Write `content` to a new sparse file with plain seeks and writes."""
    with path.open("wb") as file:
        file.truncate(content.size)
        for extent in content.extents:
            file.seek(extent.offset)
            data = extent_bytes(extent)
            assert len(data) == extent.length
            file.write(data)
    return path


def content_bytes(content: Content) -> bytes:
    """Return all bytes of a small content."""
    image = bytearray(content.size)
    for extent in content.extents:
        image[extent.offset : extent.end] = extent_bytes(extent)
    return bytes(image)


def names_in(folder: Path) -> list[str]:
    """Return the names of what is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def open_files(folder: Path) -> int:
    """Return how many files below `folder`, or removed from there, this process has open.

    Others come and go by themselves: servers of earlier tests close their connections.
    """
    return sum(name.startswith(f"{folder}/") for name in _open_names())


def _open_names() -> Iterator[str]:
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of this loop
            yield str(descriptor.readlink())


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let this process write no file of more than `size` bytes in the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def bounded(seconds: float, memory: int) -> Iterator[None]:
    """Fail if the block takes more time of processors, or bytes of memory than were in use before.

    It is interrupted, so that a loop without an end fails, too. How busy the machine is does not
    count.
    """

    def interrupt(*_: object) -> None:
        raise AssertionError(f"it takes more than {seconds} s")

    Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak, VmHWM
    before = _status("VmRSS")
    old = signal.signal(signal.SIGPROF, interrupt)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)
    assert _status("VmHWM") - before < memory


def _status(field: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) << 10
