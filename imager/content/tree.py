"""File trees: the input of every volume and archive planner, and the output of every reader.

A format has two functions: `plan_x(tree, ...) -> VolumePlan`, and if it can be read
`open_x(source, ...) -> Tree`. Paths are validated here; a format adds its own rules for names
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
    """A regular file at `path`, which is relative and uses forward slashes.

    `mode` holds the permissions; FAT stores only the write permission, ISO 9660 none of them.
    `data` is set if the bytes were kept while the file was indexed because it is in a compressed
    stream.
    """

    path: str
    content: Content
    mode: int = 0o644
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link at `path` to `target`."""

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class Device:
    """A character device node at `path`, accessible only by root."""

    path: str
    major: int
    minor: int


@dataclass(frozen=True, slots=True)
class Tree:
    """The files and folders of a volume or archive; created with `of`.

    `files` are in storage order. `entries` maps each folder path ("" is the root) to the paths in
    that folder; parents precede children. `implied` are folders that only occur as parents of
    other paths. `nodes` are links and devices, which only archives for Linux have. `others` are
    the paths of all unsupported entries that a reader found.
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
        """Return a tree of `files` and `folders`; parent folders are added implicitly.

        Raises InputError for a path that is absolute or contains an empty part, `.`, `..` or a NUL
        byte, and for duplicate paths.
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
        """All folders except the root, parents first."""
        return tuple(path for path in self.entries if path != ROOT)

    @property
    def size(self) -> int:
        """The total size of all files in bytes."""
        return sum(file.content.size for file in self.files)

    def below(self, folder: str) -> Tree:
        """Return the subtree of `folder`, with paths relative to it; empty if it does not exist."""
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
        """Return this tree moved below `folder`."""
        return Tree.of(
            _prefixed(self.files, folder),
            [f"{folder}/{path}" for path in self._given()],
            nodes=_prefixed(self.nodes, folder),
            others=[f"{folder}/{path}" for path in self.others],
        )

    def joined(self, other: Tree) -> Tree:
        """Return this tree followed by `other`; raises like `of`."""
        return Tree.of(
            (*self.files, *other.files),
            (*self._given(), *other._given()),
            nodes=(*self.nodes, *other.nodes),
            others=(*self.others, *other.others),
        )

    def with_files(self, files: Iterable[File]) -> Tree:
        """Return the tree with its files replaced by `files`, of the same paths and order."""
        return replace(self, files=tuple(files))

    def _given(self) -> tuple[str, ...]:
        return tuple(path for path in self.folders if path not in self.implied)


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """The location of a file's data: `length` bytes at byte `offset` of the volume."""

    path: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """A complete volume or archive, and the locations of its files."""

    content: Content
    files: tuple[PlacedFile, ...]


def parent(path: str) -> str:
    """Return the parent folder of `path`; the root is its own parent."""
    return path.rpartition("/")[0]


def name_of(path: str) -> str:
    """Return the last part of `path`."""
    return path.rpartition("/")[2]


def check_path(path: str) -> None:
    """Raise InputError unless `path` is a relative path that stays below its root."""
    if "\0" in path or not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise InputError(f"{path!r} is not a relative path of plain names")


def _add_folder(entries: dict[str, list[str]], path: str) -> None:
    """Add the folder `path` and its missing parents."""
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
