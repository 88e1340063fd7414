"""Read a host folder as a tree whose files are ranges of the files on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from imager.content.extents import Content
from imager.content.tree import File, Tree
from imager.support.errors import OutputError


def open_folder(folder: Path) -> Tree:
    """Return the contents of `folder`, files sorted by path; `others` has links, devices, pipes.

    Raises OutputError when a folder cannot be read.
    """
    files: list[File] = []
    folders: list[str] = []
    others: list[str] = []
    try:
        for path, entry in _walk(folder, ""):
            if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
                others.append(path)
            elif entry.is_dir():
                folders.append(path)
            else:
                files.append(File(path, Content.of_file(Path(entry.path))))
    except OSError as error:
        raise OutputError(f"cannot read {error.filename}: {error.strerror}") from error
    files.sort(key=lambda file: file.path)
    return Tree.of(files, sorted(folders), others=sorted(others))


def _walk(folder: Path | str, above: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = f"{above}{entry.name}"
            yield path, entry
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, f"{path}/")
