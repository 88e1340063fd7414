"""The files of manifests that are listed: one, those of a folder, standard input."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imager.errors import is_denied
from imager.imagecache.findings import Problem
from imager.textinput import STDIN, input_name
from imager.units import MIB, format_size

_LARGEST = 16 * MIB
_MANIFEST = re.compile(r"(?!\.).*(?:\.ya?ml|\.json|image.*\.(?:txt|list))", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """The text of a file, and the name by which a person knows it."""

    name: str
    text: str


def read_manifest_files(source: str) -> Iterator[ManifestFile | Problem]:
    """Yield the files of `source`, in the order of their names; a Problem for what is unreadable.

    `-` is standard input; in a folder, files that end with .yaml, .yml or .json at any depth, and
    lists of images (`*image*.txt`, `*image*.list`), except those whose own name or folder starts
    with a dot: of version control, of continuous integration.
    A file is UTF-8 of at most 16 MiB.
    """
    if source == STDIN:
        yield _read(source_name(source), None)
    elif source and Path(source).is_dir():
        yield from _read_folder(source)
    else:
        yield _read(source_name(source), Path(source))


def source_name(source: str) -> str:
    """Return what a person calls `source`."""
    return input_name(source) or "''"


def _read_folder(source: str) -> Iterator[ManifestFile | Problem]:
    failures: list[OSError] = []
    for folder, folders, names in os.walk(source, onerror=failures.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if _MANIFEST.fullmatch(name) and _is_readable_kind(path):
                yield _read(str(path), path)
    for error in failures:
        yield _unreadable(str(error.filename), error)


def _unreadable(name: str, error: OSError) -> Problem:
    text = f"cannot be read: {error.strerror}"
    return Problem(name, text, denied=error if is_denied(error) else None)


def _is_readable_kind(path: Path) -> bool:
    # A pipe in a folder would be waited for without end; a dangling link is told when it is read.
    return path.is_file() or not path.exists()


def _read(name: str, path: Path | None) -> ManifestFile | Problem:
    try:
        if path is None:
            data = sys.stdin.buffer.read(_LARGEST + 1)
        else:
            with path.open("rb") as file:
                data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            return Problem(name, f"is larger than {format_size(_LARGEST)}")
        return ManifestFile(name, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return Problem(name, f"is not UTF-8, at byte {error.start}")
    except OSError as error:
        return _unreadable(name, error)
    except ValueError as error:
        return Problem(name, f"cannot be read: {error}")  # a name with a zero byte
