"""SHA256SUMS: the digests of the files in a folder, as sha256sum writes and checks them.

Builds that write to one folder share the file: each replaces the lines of its own files.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from imager.oci.digest import Digest
from imager.support.descriptors import opened
from imager.support.errors import InputError
from imager.support.sums import name_and_sum

_LIMIT = 4 << 20


def merged_sums(path: Path, digests: Mapping[str, Digest]) -> bytes:
    """Return the file `path` with the lines of `digests` by file name, which replace theirs.

    Raises InputError if there is another kind of file at `path`, and for a name of several lines.
    """
    if wrong := [name for name in digests if "\n" in name]:
        raise InputError(
            f"{wrong[0]!r} cannot be in {path.name}: it has a line break",
            hint="give the output another name",
        )
    lines = {**_lines(path), **{name: f"{each.hex}  {name}" for name, each in digests.items()}}
    return "".join(f"{lines[name]}\n" for name in sorted(lines)).encode("utf-8", "surrogateescape")


def _lines(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            data = file.read(_LIMIT + 1)
    except FileNotFoundError:
        return {}
    lines = {}
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        listed = name_and_sum(line)
        if listed is None or len(data) > _LIMIT:
            raise InputError(
                f"{path} is not a list of SHA-256 digests",
                hint="move it, or write the output to another folder",
            )
        lines[listed[0]] = line
    return lines


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Let one build at a time read and replace SHA256SUMS in `folder`."""
    with opened(folder, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
