"""Compare two images file by file, and the files of squashfs images that are files themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imager.content.compare import first_difference
from imager.content.random_access import ContentReader
from imager.content.streams import settled
from imager.content.tree import Device, File, Link, Tree
from imager.formats.squashfs_read import HEAD_SIZE, is_squashfs, open_squashfs
from imager.support.errors import InputError, UnsupportedError


@dataclass(frozen=True, slots=True)
class Change:
    """A difference: `name` is an item of the section `what`; None on the side without it.

    For an item that both have, `field` is the one that differs.
    """

    what: str
    name: str
    old: str | None
    new: str | None
    field: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Compares files; with `structure` by name and size only.

    `scratch` is a folder for temporary files.
    """

    structure: bool
    scratch: Path

    def trees(self, place: str, old: Tree, new: Tree) -> Iterator[Change]:
        """Yield the differences of two trees; `place` begins the names of what differs."""
        prefix = f"{place}: " if place else ""
        before, after = _entries(old), _entries(new)
        for path in sorted(before.keys() | after.keys()):
            one, other = before.get(path), after.get(path)
            name = f"{prefix}{path}"
            if isinstance(one, File) and isinstance(other, File):
                yield from self._files(name, one, other)
            elif one != other:
                yield Change("file", name, _entry_text(one), _entry_text(other))

    def _files(self, name: str, old: File, new: File) -> Iterator[Change]:
        if old.mode != new.mode:
            yield Change("file", name, f"{old.mode:04o}", f"{new.mode:04o}", "mode")
        sizes = old.content.size, new.content.size
        if sizes[0] != sizes[1]:
            yield Change("file", name, f"{sizes[0]} bytes", f"{sizes[1]} bytes", "size")
        elif self.structure:
            return
        else:
            first = first_difference(old.content, new.content)
            if first is None:
                return
            yield Change("file", name, None, None, f"bytes, from byte {first} on")
        trees = [self._files_of(file) for file in (old, new)]
        if trees[0] is not None and trees[1] is not None:
            yield from self.trees(name, trees[0], trees[1])

    def _files_of(self, file: File) -> Tree | None:
        """Return the files of a squashfs image; None for another file and for a damaged image."""
        with ContentReader(file.content) as reader:
            if not is_squashfs(reader.read(0, HEAD_SIZE)):
                return None
        try:
            return open_squashfs(settled(file.content, scratch=self.scratch), name=file.path)
        except (InputError, UnsupportedError):
            return None


def _entries(tree: Tree) -> dict[str, File | str]:
    found: dict[str, File | str] = dict.fromkeys(tree.folders, "folder")
    found |= dict.fromkeys(tree.others, "other")
    found |= {file.path: file for file in tree.files}
    for node in tree.nodes:
        match node:
            case Link(path, target):
                found[path] = f"link to {target}"
            case Device(path, major, minor):
                found[path] = f"device {major}:{minor}"
    return found


def _entry_text(entry: File | str | None) -> str | None:
    return f"{entry.content.size} bytes" if isinstance(entry, File) else entry
