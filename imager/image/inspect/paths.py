"""Find a path in an image, through everything that contains files.

A path begins in the source: on a disk with a partition, by label or number. Where a path goes on
behind a file, it goes on inside of the file. A symbolic link is followed inside of what contains it
and never leads out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imager.content.tree import File, Link, Tree, name_of, parent
from imager.image.inspect.inside import Inside, Part, inside_part, open_inside
from imager.support.errors import InputError

_DEEPEST = 16
_MOST_LINKS = 40
_MOST_NAMES = 12


@dataclass(frozen=True, slots=True)
class FoundFolder:
    """A folder, or what is inside of something: its files, and at the top of a disk its parts.

    `unread` says what is left out.
    """

    path: str
    tree: Tree
    parts: tuple[Part, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, folder, link, device or partition by its path; `size` is None for a folder.

    `kind` is `file`, `folder`, `link`, `device`, `partition`, or `other` for what is not read.
    `target` is that of a link.
    """

    path: str
    kind: str
    size: int | None = None
    mode: int | None = None
    target: str = ""


@dataclass(frozen=True, slots=True)
class Finder:
    """Finds paths in a source called `name`; `scratch` is a folder for temporary files."""

    name: str
    root: Inside
    scratch: Path

    def find(self, path: str) -> File | FoundFolder:
        """Return the file or folder at a path; with a `/` at its end, what is inside of a file.

        The path of the result is `path` without redundant slashes. Raises InputError if there is
        nothing, or something on the way is damaged or contains no files.
        """
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise InputError(f"{path!r} contains '..'", hint="give the path from the root")
        return self._inside(self.root, parts, [], opened=path.endswith("/"))

    def everything(self, found: FoundFolder) -> Iterator[tuple[Part, FoundFolder | None]]:
        """Yield the parts of a folder, each with its files; None for one whose files are unknown.

        Raises InputError for a damaged one.
        """
        for part in found.parts:
            if part.volume is None:
                yield part, None
                continue
            inner = inside_part(part, name=f"{self.name}: {part.name}", scratch=self.scratch)
            yield part, FoundFolder(part.name, inner.tree, unread=inner.unread)

    def _inside(
        self, inside: Inside, parts: Sequence[str], above: Sequence[str], *, opened: bool
    ) -> File | FoundFolder:
        """Return what is at `parts` of something that is at `above`."""
        if not parts:
            return FoundFolder("/".join(above), inside.tree, inside.parts, inside.unread)
        part = inside.part(parts[0])
        if part is None:
            return self._in_tree(inside, parts, above, opened=opened, links=0)
        here = [*above, parts[0]]
        if len(parts) == 1 and part.volume is None and not opened:
            return File("/".join(here), part.content)
        inner = inside_part(part, name=self._name(here), scratch=self.scratch)
        return self._inside(inner, parts[1:], here, opened=opened)

    def _in_tree(
        self,
        inside: Inside,
        parts: Sequence[str],
        above: Sequence[str],
        *,
        opened: bool,
        links: int,
    ) -> File | FoundFolder:
        tree = inside.tree
        whole = _spelled(inside, "/".join(parts))
        here = "/".join([*above, whole])
        if whole in tree.entries:
            return FoundFolder(here, tree.below(whole), unread=inside.unread)
        for count in range(len(parts), 0, -1):
            path = _spelled(inside, "/".join(parts[:count]))
            rest = parts[count:]
            if path in inside.links:
                if links == _MOST_LINKS:
                    raise InputError(f"{self.name}: {here}: there are too many symbolic links")
                target = [*_linked(path, inside.links[path]), *rest]
                if not target:
                    return FoundFolder("/".join(above), tree, inside.parts, inside.unread)
                return self._in_tree(inside, target, above, opened=opened, links=links + 1)
            file = inside.files.get(path)
            if file is None:
                continue
            place = [*above, path]
            if not rest and not opened:
                return File("/".join(place), file.content, file.mode)
            if len(above) >= _DEEPEST:
                raise InputError(f"{self.name}: {here}: too many files are nested")
            inner = open_inside(file.content, name=self._name(place), scratch=self.scratch)
            return self._inside(inner, rest, place, opened=opened)
        raise self._missing(inside, parts, above)

    def _name(self, place: Sequence[str]) -> str:
        return f"{self.name}: {'/'.join(place)}"

    def _missing(self, inside: Inside, parts: Sequence[str], above: Sequence[str]) -> InputError:
        path = "/".join([*above, *parts])
        if _spelled(inside, "/".join(parts)) in inside.tree.others:
            return InputError(f"{self.name}: {path} is neither a file nor a folder")
        known = parts[:-1]
        while known and _spelled(inside, "/".join(known)) not in inside.tree.entries:
            known = known[:-1]
        folder = _spelled(inside, "/".join(known))
        names = [name_of(each) for each in inside.tree.entries.get(folder, ())]
        if not known:
            names = [*(part.name for part in inside.parts), *names]
        some = ", ".join(sorted(names)[:_MOST_NAMES]) or "nothing"
        more = ", ..." if len(names) > _MOST_NAMES else ""
        place = "/".join([*above, *known]) or "/"
        return InputError(
            f"{self.name}: there is no {path}", hint=f"{place} contains: {some}{more}"
        )


def _spelled(inside: Inside, path: str) -> str:
    """Return a path as it is written in what contains it."""
    return inside.folded.get(path.lower(), path) if inside.ignores_case else path


def _linked(path: str, target: str) -> list[str]:
    """Return the parts of the path that a link leads to; `..` stops at the root."""
    found = [] if target.startswith("/") else [part for part in parent(path).split("/") if part]
    for part in target.split("/"):
        if part == "..":
            del found[-1:]
        elif part not in ("", "."):
            found.append(part)
    return found


def unread(tree: Tree) -> Iterator[str]:
    """Yield the paths of what is neither a file nor a folder nor a link."""
    nodes = {node.path for node in tree.nodes}
    return (path for path in tree.others if path not in nodes)


def file_entry(file: File) -> Entry:
    """Return the entry of a file."""
    return Entry(file.path, "file", file.content.size, file.mode & 0o7777)


def entries(found: FoundFolder, *, recursive: bool) -> Iterator[Entry]:
    """Yield the entries of a folder by path, relative to it, or all below it."""
    for part in found.parts:
        yield Entry(part.name, "partition", part.content.size)
    tree = found.tree
    listed = [
        *map(file_entry, tree.files),
        *(Entry(path, "folder") for path in tree.folders),
        *(
            Entry(each.path, "link", target=each.target)
            if isinstance(each, Link)
            else Entry(each.path, "device")
            for each in tree.nodes
        ),
        *(Entry(path, "other") for path in unread(tree)),
    ]
    for entry in sorted(listed, key=lambda each: each.path):
        if recursive or "/" not in entry.path:
            yield entry
