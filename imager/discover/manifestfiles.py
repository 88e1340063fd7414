"""Read the manifest files to list: a file, the files of a folder, or standard input."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from imager.discover.findings import Note, Problem
from imager.support.errors import is_denied
from imager.support.inputs import STDIN, input_name
from imager.support.units import MIB, format_size

_LARGEST = 16 * MIB
_MANIFEST = re.compile(r"(?!\.).*(?:\.ya?ml|\.json|image.*\.(?:txt|list))", re.DOTALL)
# The first bytes of formats that are not UTF-8 text, and what to do about them.
_OTHERS = (
    (b"\xff\xfe\0\0", "is UTF-32, not UTF-8: convert it with `iconv -f UTF-32 -t UTF-8`"),
    (b"\xff\xfe", "is UTF-16, not UTF-8: convert it with `iconv -f UTF-16 -t UTF-8`"),
    (b"\xfe\xff", "is UTF-16, not UTF-8: convert it with `iconv -f UTF-16 -t UTF-8`"),
    (b"\x1f\x8b", "is compressed with gzip: decompress it with `gunzip`"),
    (b"\x28\xb5\x2f\xfd", "is compressed with Zstandard: decompress it with `zstd -d`"),
)
# Files in folders that cannot be read as manifests without another step.
_UNREADABLE = re.compile(
    r"(?![._]).*\.(?:ya?ml|json)\.(?:gz|zst|xz|bz2|tpl|tmpl|gotmpl|template|j2|jinja2?|erb|age|enc)"
    r"|(?![._]).*\.tgz",
    re.DOTALL,
)
_NOT_READ = "not read: list what it contains, decompressed and rendered"


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """The text of a file, and the name that messages use for it."""

    name: str
    text: str


def read_manifest_files(source: str) -> Iterator[ManifestFile | Note | Problem]:
    """Yield the files of `source`, sorted by name, and a Problem for each that is unreadable.

    Templates and compressed manifests in a folder yield a Note.

    `-` is standard input. In a folder, reads .yaml, .yml and .json files at any depth, and lists
    of images (`*image*.txt`, `*image*.list`). Skips files and folders whose name starts with a
    dot, such as those of version control and continuous integration.
    A file must be UTF-8 and at most 16 MiB.
    """
    if source not in ("", STDIN) and Path(source).is_dir():
        yield from _read_folder(source)
    else:
        yield _read(source)


def source_name(source: str) -> str:
    """Return the name that messages use for `source`."""
    return input_name(source) or "''"


def _read_folder(source: str) -> Iterator[ManifestFile | Note | Problem]:
    failures: list[OSError] = []
    for folder, folders, names in os.walk(source, onerror=failures.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if _MANIFEST.fullmatch(name) and _is_readable_kind(path):
                yield _read(str(path))
            elif _UNREADABLE.fullmatch(name):
                yield Note(str(path), _NOT_READ)
    for error in failures:
        yield _unreadable(str(error.filename), error)


def _unreadable(name: str, error: OSError) -> Problem:
    text = f"cannot be read: {error.strerror}"
    return Problem(name, text, denied=error if is_denied(error) else None)


def _is_readable_kind(path: Path) -> bool:
    # Reading a pipe in a folder could block forever; a dangling link is reported on reading.
    return path.is_file() or not path.exists()


def _read(source: str) -> ManifestFile | Problem:
    name = source_name(source)
    try:
        stdin = nullcontext(sys.stdin.buffer)
        with stdin if source == STDIN else Path(source).open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            return Problem(name, f"is larger than {format_size(_LARGEST)}")
        # Concatenated files have byte order marks in the middle.
        return ManifestFile(name, data.decode("utf-8-sig").replace("\n\ufeff", "\n"))
    except UnicodeDecodeError as error:
        return Problem(name, _not_text(data, error))
    except OSError as error:
        return _unreadable(name, error)
    except ValueError as error:
        return Problem(name, f"cannot be read: {error}")  # a name with a zero byte


def _not_text(data: bytes, error: UnicodeDecodeError) -> str:
    for magic, what in _OTHERS:
        if data.startswith(magic):
            return what
    return f"is not UTF-8, at byte {error.start}"
