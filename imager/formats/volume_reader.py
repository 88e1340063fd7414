"""Read foreign volumes in place as file trees: the common part of all format readers.

A format reader returns the entries of folders and the locations of file data; all input is
untrusted. The amount of metadata, the number of entries and extents, and the total size of files
are limited, so that a small volume can neither cause an endless loop nor exhaust memory. Contents
are parts of the content that contains the volume, and never extend outside the volume.

A volume is anywhere in any `Content`: a partition of a disk image in qcow2 is read like one of a
raw disk. A path stands for the content of the file or device.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from imager.content.extents import Content, Extent
from imager.content.random_access import ContentReader, as_content
from imager.content.tree import File, Link, Tree
from imager.formats.errors import DamagedVolumeError
from imager.formats.runs import Run, joined
from imager.support.errors import OutputError

# The limit of folder entries and file extents: each takes some hundred bytes of memory.
_MOST_ITEMS = 1 << 20
# The limit of metadata read, and of paths built from it.
_MOST_BYTES = 512 << 20
# Hard links share data, so files can be larger in total than their volume: by up to this factor.
_MOST_SHARED = 4
_LONGEST_PATH = 4096
LONGEST_TARGET = 4096


class DamagedError(Exception):
    """A volume that violates its own format."""


class OpenedVolume:
    """A volume that is being read, with offsets in it; `name` is for messages."""

    def __init__(self, name: str, content: Content, reader: ContentReader) -> None:
        self.name = name
        self.size = content.size
        self._content = content
        self._reader = reader
        self._items = 0
        self._bytes = 0
        self._contents = 0

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes of metadata; raises DamagedError if out of range."""
        self._check(offset, length)
        self.spend(length)
        return self._reader.read(offset, length)

    def part(self, offset: int, length: int) -> Content:
        """Return `length` bytes of data; raises DamagedError if out of range."""
        self._check(offset, length)
        return self._content.slice(offset, length)

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise DamagedError(f"bytes {offset} to {offset + length} are outside of the volume")

    def count(self, items: int = 1) -> None:
        """Count entries or extents; raises DamagedError if there are too many."""
        self._items += items
        if self._items > _MOST_ITEMS:
            raise DamagedError(f"it has more than {_MOST_ITEMS} entries")

    def spend(self, count: int) -> None:
        """Count `count` bytes of metadata; raises DamagedError if there are too many."""
        self._bytes += count
        if self._bytes > _MOST_BYTES:
            raise DamagedError(f"it has more than {_MOST_BYTES >> 20} MiB of metadata")

    def content(self, size: int, runs: Iterable[Run]) -> Content:
        """Return the content of a file of `size` bytes: `runs` in file order, zeros between them.

        Runs are truncated at the size. Raises DamagedError for runs that are not in order or exceed
        the volume, and for implausible sizes.
        """
        self._contents += size
        if size > self.size or self._contents > _MOST_SHARED * self.size:
            raise DamagedError("its files are larger than the volume")
        extents: list[Extent] = []
        end = 0
        for run in joined(self._checked(runs)):
            if run.offset < end:
                raise DamagedError(f"byte {run.offset} of a file is stored twice")
            end = run.offset + run.length
            length = min(end, size) - run.offset
            if length > 0:
                stored = self._content.slice(run.place, length)
                extents += (each.shifted(run.offset) for each in stored.extents)
                if len(stored.extents) > 1:
                    self.count(len(stored.extents))
        return Content(size, tuple(extents))

    def _checked(self, runs: Iterable[Run]) -> Iterator[Run]:
        for run in runs:
            self.count()
            self._check(run.place, run.length)
            yield run


@contextmanager
def opened_volume(
    source: Path | Content, *, offset: int, size: int | None, what: str, name: str = ""
) -> Iterator[OpenedVolume]:
    """Open the volume of `size` bytes (None: up to the end) at byte `offset` of `source`.

    `what` is the format and `name` (default: the path) the image, for messages. Converts a
    DamagedError of the block to InputError, an OSError to OutputError.
    """
    name = name or (str(source) if isinstance(source, Path) else "the image")
    try:
        whole = as_content(source)
        length = whole.size - offset if size is None else size
        if offset + length > whole.size or length < 0:
            raise DamagedError("the file ends before the end of the volume")
        content = whole.slice(offset, length)
        with ContentReader(content) as reader:
            yield OpenedVolume(name, content, reader)
    except DamagedError as error:
        raise DamagedVolumeError(
            f"{name}: the {what} file system at byte {offset} is damaged: {error}",
            hint="copy or build the image again",
        ) from error
    except OSError as error:
        raise OutputError(f"cannot read {name}: {error.strerror}") from error


class Kind(enum.Enum):
    """The type of a folder entry."""

    FILE = "file"
    FOLDER = "folder"
    OTHER = "other"


# A format-specific location of a file or folder; equal for the same folder.
Place = TypeVar("Place", bound=Hashable)


@dataclass(frozen=True, slots=True)
class RawEntry(Generic[Place]):
    """An unchecked folder entry; `target` is that of a symbolic link, whose kind is OTHER.

    `mode` holds the permissions of a file.
    """

    name: str
    kind: Kind
    place: Place
    target: str = ""
    mode: int = 0o644


class Format(Protocol[Place]):
    """A file system reader; every method may raise DamagedError. `root` is the root folder."""

    root: Place

    def entries(self, folder: Place) -> Iterator[RawEntry[Place]]:
        """Yield the entries of a folder except `.` and `..`, and count each of them."""

    def content(self, file: Place) -> Content:
        """Return the bytes of a file."""

    def key(self, name: str) -> str:
        """Return a key that is equal for names which the format treats as equal."""
        return name


def read_tree(volume: OpenedVolume, format_: Format[Place], folder: str) -> Tree:
    """Return the contents of `folder` in a volume, sorted, with paths relative to it.

    `folder` uses forward slashes and is empty for the root; if it does not exist, the tree is
    empty. Entries other than files and folders are in `others`, and links in `nodes`, too. Raises
    DamagedError.
    """
    start = _find(format_, folder)
    files: list[File] = []
    folders: list[str] = []
    others: list[str] = []
    links: list[Link] = []
    seen = {start}
    pending = [] if start is None else [("", start)]
    while pending:
        above, place = pending.pop()
        for entry in _entries(format_, place):
            path = above + entry.name
            if len(path) > _LONGEST_PATH:
                raise DamagedError(f"the path {path[:40]!a}... is too long")
            volume.spend(len(path))
            if entry.kind is Kind.FILE:
                files.append(File(path, format_.content(entry.place), entry.mode))
            elif entry.kind is Kind.OTHER:
                others.append(path)
                if entry.target:
                    volume.spend(len(entry.target))
                    links.append(Link(path, entry.target))
            elif entry.place in seen:
                raise DamagedError(f"the folder {path!a} occurs in two places")
            else:
                seen.add(entry.place)
                folders.append(path)
                pending.append((f"{path}/", entry.place))
    files.sort(key=lambda file: file.path)
    links.sort(key=lambda link: link.path)
    return Tree.of(files, sorted(folders), nodes=links, others=sorted(others))


def _find(format_: Format[Place], folder: str) -> Place | None:
    place = format_.root
    for part in filter(None, folder.split("/")):
        key = format_.key(part)
        for entry in _entries(format_, place):
            if entry.kind is Kind.FOLDER and format_.key(entry.name) == key:
                place = entry.place
                break
        else:
            return None
    return place


def _entries(format_: Format[Place], folder: Place) -> Iterator[RawEntry[Place]]:
    names: set[str] = set()
    for entry in format_.entries(folder):
        name, key = entry.name, format_.key(entry.name)
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise DamagedError(f"the name {name!a} is invalid")
        if key in names:
            raise DamagedError(f"the name {name!a} occurs twice in a folder")
        names.add(key)
        yield entry
