"""The file system that the layers of an image make: layers applied, links followed inside it.

Layers are applied as container engines do: whiteouts first, and a layer's parent folders may be
links of a layer below. A link never leads out of the root: `..` stops there, and an absolute target
starts there. Only an index is kept; contents stay ranges of the layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

from imager.content.rootfiles import FOLDER_MODE, RootFiles
from imager.content.tree import Device, File, Link, Tree
from imager.oci.errors import InvalidImageError
from imager.oci.layerfiles import (
    Character,
    Directory,
    Entry,
    Hard,
    Leaf,
    Other,
    Regular,
    Symbolic,
    Whiteout,
)

# Linux's own limit (path_resolution(7)).
_MOST_LINKS = 40


@dataclass(slots=True)
class _Folder:
    """A folder while layers are applied."""

    children: dict[str, _Folder | Leaf] = field(default_factory=dict)
    mode: int = FOLDER_MODE
    label: str | None = None


@dataclass(frozen=True, slots=True)
class RootTree:
    """The files of an image, or of its topmost layers; created with `of`."""

    _root: _Folder

    @classmethod
    def of(cls, layers: Iterable[Sequence[Entry]]) -> RootTree:
        """Return the file system of `layers`, base layer first.

        Raises InputError for a loop of links.
        """
        root = _Folder()
        for layer in layers:
            _apply(root, layer)
        return cls(root)

    def find(self, path: str) -> File | None:
        """Return the regular file at `path`, links followed; None if there is none.

        Raises InputError for a loop of links.
        """
        found = _walk(self._root, path.split("/"))
        return File(path, found.content, found.mode) if isinstance(found, Regular) else None

    def names(self, folder: str) -> tuple[str, ...]:
        """Return the sorted names in `folder`, links followed; empty if it is not a folder."""
        found = _walk(self._root, folder.split("/"))
        return tuple(sorted(found.children)) if isinstance(found, _Folder) else ()

    def tree(self) -> Tree:
        """Return everything, sorted by path; links are not followed.

        `others` has what cannot be read: block devices, pipes, sparse files, and hard links to
        files that are missing.
        """
        files: list[File] = []
        folders: list[str] = []
        nodes: list[Link | Device] = []
        others: list[str] = []
        for path, node in sorted(_all(self._root), key=lambda item: item[0]):
            match node:
                case _Folder():
                    folders.append(path)
                case Regular(content, mode):
                    files.append(File(path, content, mode))
                case Symbolic(target):
                    nodes.append(Link(path, target))
                case Character(major, minor):
                    nodes.append(Device(path, major, minor))
                case Hard() | Other():
                    others.append(path)
        return Tree.of(files, folders, nodes=nodes, others=others)

    def root_files(self) -> RootFiles:
        """Return everything, like `tree`, with SELinux labels and the modes of folders."""
        nodes = dict(_all(self._root))
        labels = {
            path: node.label
            for path, node in nodes.items()
            if isinstance(node, _Folder | Regular | Symbolic) and node.label is not None
        }
        modes = {path: node.mode for path, node in nodes.items() if isinstance(node, _Folder)}
        return RootFiles(self.tree(), labels, modes)


def _all(root: _Folder) -> Iterator[tuple[str, _Folder | Leaf]]:
    pending = [("", root)]
    while pending:
        above, folder = pending.pop()
        for name, node in folder.children.items():
            yield above + name, node
            if isinstance(node, _Folder):
                pending.append((f"{above}{name}/", node))


def _apply(root: _Folder, layer: Sequence[Entry]) -> None:
    # A whiteout removes what lower layers have, wherever in the layer it is.
    for entry in layer:
        if isinstance(entry.what, Whiteout):
            _remove(root, entry.parts, opaque=entry.what.opaque)
    for entry in layer:
        if not isinstance(entry.what, Whiteout) and entry.parts:
            _put(root, entry.parts, entry.what)


def _remove(root: _Folder, parts: Sequence[str], *, opaque: bool) -> None:
    folder = _walk(root, parts if opaque else parts[:-1])
    if isinstance(folder, _Folder):
        if opaque:
            folder.children.clear()
        else:
            folder.children.pop(parts[-1], None)


def _put(root: _Folder, parts: Sequence[str], what: Leaf | Directory) -> None:
    folder, name = _made(root, parts[:-1]), parts[-1]
    if isinstance(what, Directory):
        made = folder.children.get(name)
        if not isinstance(made, _Folder):
            made = folder.children[name] = _Folder()
        made.mode, made.label = what.mode, what.label
        return
    if isinstance(what, Hard):
        target = _walk(root, what.target, follow=False)
        folder.children[name] = what if target is None or isinstance(target, _Folder) else target
        return
    folder.children[name] = what


def _made(root: _Folder, parts: Sequence[str]) -> _Folder:
    """Return the folder at `parts`; missing ones are created, and files in the way replaced."""
    return cast("_Folder", _walk(root, parts, make=True))


def _walk(
    root: _Folder, parts: Sequence[str], *, follow: bool = True, make: bool = False
) -> _Folder | Leaf | None:
    """Return what is at `parts`; without `follow`, a link there is returned itself.

    With `make` everything on the way becomes a folder. Raises InputError for too many links.
    """
    trail, rest, links = [root], list(reversed(parts)), 0
    while rest:
        part = rest.pop()
        if part in ("", "."):
            continue
        if part == "..":
            trail = trail[:-1] or trail
            continue
        node = trail[-1].children.get(part)
        if isinstance(node, Symbolic) and (rest or follow):
            links += 1
            if links > _MOST_LINKS:
                raise InvalidImageError(
                    f"{'/'.join(parts)[:80]!r} leads through more than {_MOST_LINKS} links"
                )
            trail = trail[:1] if node.target.startswith("/") else trail
            rest.extend(part for part in reversed(node.target.split("/")) if part)
            continue
        if not isinstance(node, _Folder):
            if not make:
                return node if not rest else None
            node = trail[-1].children[part] = _Folder()
        trail.append(node)
    return trail[-1]
