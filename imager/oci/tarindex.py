"""Where each file of a Docker archive's tar lies, links between them followed."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Mapping
from pathlib import Path

from imager.content.tar import read_tar_headers
from imager.oci.source import LocalRange
from imager.support.errors import InputError, OutputError, UnsupportedError

_MOST_MEMBERS = 100_000
_MOST_LINKS = 8


def read_tar_index(path: Path) -> Mapping[str, LocalRange]:
    """Return where each regular file of the tar `path` lies, by its normalised name.

    Links inside the archive are followed; other entries are left out. Raises InputError for a
    damaged or truncated archive or a name that stands twice with different data,
    UnsupportedError for a sparse one, OutputError when it cannot be read.
    """
    files: dict[str, LocalRange] = {}
    links: dict[str, str] = {}
    try:
        for count, member in enumerate(read_tar_headers(path)):
            if count >= _MOST_MEMBERS:
                raise InputError(f"{path} has more than {_MOST_MEMBERS} entries")
            _add_member(path, member, files, links)
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}") from error
    return files | _followed(files, links)


def _add_member(
    path: Path, member: tarfile.TarInfo, files: dict[str, LocalRange], links: dict[str, str]
) -> None:
    name = posixpath.normpath(member.name)
    if member.issparse():
        raise UnsupportedError(
            f"{path}: {name} is stored sparse", hint="make the archive without tar's --sparse"
        )
    if member.issym():
        links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
    elif member.islnk():
        links[name] = posixpath.normpath(member.linkname)
    elif member.isreg():
        if member.offset_data + member.size > path.stat().st_size:
            raise InputError(f"{path} is truncated: {name} ends after the file does")
        # Readers disagree about which of two equal names counts.
        if name in files:
            raise InputError(f"{path}: {name} stands twice")
        files[name] = LocalRange(path, member.offset_data, member.size)


def _followed(files: Mapping[str, LocalRange], links: Mapping[str, str]) -> dict[str, LocalRange]:
    followed: dict[str, LocalRange] = {}
    for name, target in links.items():
        end = target
        for _ in range(_MOST_LINKS):
            end = links.get(end, end)
        if end in files and name not in files:
            followed[name] = files[end]
    return followed
