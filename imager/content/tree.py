"""Files by path: what every planner of a volume or archive takes, and every reader returns.

A format has the same two verbs: `plan_x(tree, ...) -> VolumePlan`, and where there is a reader
`open_x(source, ...) -> Tree`. Paths are checked here, once; a format adds its own rules of names
and sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from imager.content.extents import Content
from imager.support.errors import InputError

ROOT = ""
_Node = TypeVar("_Node", "File", "Link | Device")


@dataclass(frozen=True, slots=True)
class File:
    """A regular file at `path`, which is relative and has forward slashes.

    `mode` has its permissions; of these FAT keeps whether it can be written, ISO 9660 none.
    `sha256` (hex) is set where the bytes were hashed when the file was found, and `data` where
    they were kept, because they are in a compressed stream.
    """

    path: str
    content: Content
    mode: int = 0o644
    sha256: str | None = None
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link at `path` to `target`."""

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class Device:
    """A character device node at `path` that only root can use."""

    path: str
    major: int
    minor: int


@dataclass(frozen=True, slots=True)
class Tree:
    """Files and folders of a volume or archive; made by `of`.

    `files` are in the order in which their data are stored. `entries` has the paths in each folder,
    by the path of the folder ("" is the root); parents come first. `implied` are the folders that
    follow from paths alone. `nodes` are links and devices, which only archives for Linux have.
    `others` are paths of what was found and is none of these.
    """

    files: tuple[File, ...]
    entries: Mapping[str, tuple[str, ...]]
    implied: frozenset[str]
    nodes: tuple[Link | Device, ...] = ()
    others: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        files: Iterable[File] = (),
        folders: Iterable[str] = (),
        *,
        nodes: Iterable[Link | Device] = (),
        others: Iterable[str] = (),
    ) -> Tree:
        """Return the tree of `files` and `folders`; folders that paths lead through need no entry.

        Raises InputError for a path that is not relative or has an empty part, `.`, `..` or a zero
        byte, and for two entries with the same path.
        """
        files, nodes, given = tuple(files), tuple(nodes), tuple(folders)
        entries: dict[str, list[str]] = {ROOT: []}
        leaves: set[str] = set()
        for path in (each.path for each in (*files, *nodes)):
            check_path(path)
            if path in leaves:
                raise InputError(f"there are two files {path!r}")
            leaves.add(path)
            _add_folder(entries, parent(path))
            entries[parent(path)].append(path)
        for path in given:
            check_path(path)
            _add_folder(entries, path)
        if clash := leaves & entries.keys():
            raise InputError(f"{min(clash)!r} is both a file and a folder")
        return cls(
            files,
            {path: tuple(names) for path, names in entries.items()},
            frozenset(entries).difference(given, (ROOT,)),
            nodes,
            tuple(others),
        )

    @property
    def folders(self) -> tuple[str, ...]:
        """All folders but the root, parents first."""
        return tuple(path for path in self.entries if path != ROOT)

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.content.size for file in self.files)

    def below(self, folder: str) -> Tree:
        """Return what is in `folder`, by paths inside it; empty when there is no such folder."""
        if folder == ROOT:
            return self
        start = f"{folder}/"
        return Tree.of(
            _inside(self.files, start),
            [path.removeprefix(start) for path in self._given() if path.startswith(start)],
            nodes=_inside(self.nodes, start),
            others=[path.removeprefix(start) for path in self.others if path.startswith(start)],
        )

    def under(self, folder: str) -> Tree:
        """Return the tree in `folder` of another one."""
        return Tree.of(
            _prefixed(self.files, folder),
            [f"{folder}/{path}" for path in self._given()],
            nodes=_prefixed(self.nodes, folder),
            others=[f"{folder}/{path}" for path in self.others],
        )

    def joined(self, other: Tree) -> Tree:
        """Return this tree followed by `other`; raises as `of`."""
        return Tree.of(
            (*self.files, *other.files),
            (*self._given(), *other._given()),
            nodes=(*self.nodes, *other.nodes),
            others=(*self.others, *other.others),
        )

    def with_files(self, files: Iterable[File]) -> Tree:
        """Return the tree with `files` at the paths of its own, in their order."""
        return replace(self, files=tuple(files))

    def _given(self) -> tuple[str, ...]:
        return tuple(path for path in self.folders if path not in self.implied)


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """Where a file's data begin: `length` bytes, the first one at `offset` bytes of the volume."""

    path: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """A whole volume or archive, and where the files are in it."""

    content: Content
    files: tuple[PlacedFile, ...]


def parent(path: str) -> str:
    """Return the folder that `path` is in; the root is its own."""
    return path.rpartition("/")[0]


def name_of(path: str) -> str:
    """Return the last part of `path`."""
    return path.rpartition("/")[2]


def check_path(path: str) -> None:
    """Raise InputError unless `path` is a relative path that stays below its root."""
    if "\0" in path or not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise InputError(f"{path!r} is not a relative path of plain names")


def _add_folder(entries: dict[str, list[str]], path: str) -> None:
    """Add the folder `path` and the missing ones above it."""
    missing = []
    while path not in entries:
        missing.append(path)
        path = parent(path)
    for folder in reversed(missing):
        entries[folder] = []
        entries[parent(folder)].append(folder)


def _inside(nodes: Iterable[_Node], start: str) -> Iterator[_Node]:
    for node in nodes:
        if node.path.startswith(start):
            yield replace(node, path=node.path.removeprefix(start))


def _prefixed(nodes: Iterable[_Node], folder: str) -> Iterator[_Node]:
    return (replace(node, path=f"{folder}/{node.path}") for node in nodes)
