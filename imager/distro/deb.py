"""Read files of a Debian binary package without dpkg.

A .deb is an ar archive of `debian-binary`, `control.tar.*` and `data.tar.*` (deb(5)). It is read
as a stream; only the requested files are kept in memory.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from imager.distro.errors import UnusablePackageError

_MAGIC = b"!<arch>\n"
_HEADER_SIZE = 60
_HEADER_END = b"`\n"
_LARGEST_FILE = 512 << 20
_MODES = {"data.tar": "r|", "data.tar.gz": "r|gz", "data.tar.xz": "r|xz"}


def deb_files(path: Path, *, folders: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Yield (path without leading ./, contents) of each regular file below one of `folders`.

    Raises DependencyError if the package cannot be read.
    """
    try:
        with path.open("rb") as file:
            mode = _seek_data(file, path.stat().st_size)
            # Stream mode reads forward only, so it never returns to the ar header.
            with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
                for member in archive:
                    name = member.name.removeprefix("./")
                    if member.isreg() and name.startswith(folders):
                        yield name, _contents(archive, member)
    except (tarfile.TarError, ValueError, EOFError, OSError) as error:
        raise UnusablePackageError(f"{path}: not a readable Debian package: {error}") from error


def _seek_data(file: BinaryIO, size: int) -> str:
    """Position `file` at the package's data archive; return tarfile's mode for it."""
    if file.read(len(_MAGIC)) != _MAGIC:
        raise ValueError("not an ar archive")
    while file.tell() < size:
        header = file.read(_HEADER_SIZE)
        if len(header) != _HEADER_SIZE or header[-2:] != _HEADER_END:
            raise ValueError("damaged ar header")
        name = header[:16].decode("ascii").rstrip().rstrip("/")
        if name in _MODES:
            return _MODES[name]
        length = int(header[48:58])
        file.seek(length + length % 2, 1)
    raise ValueError("no data archive with a supported compression")


def _contents(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > _LARGEST_FILE:
        raise ValueError(f"{member.name} is too large")
    reader = archive.extractfile(member)
    data = reader.read() if reader else b""
    if len(data) != member.size:
        raise ValueError(f"{member.name} is truncated")
    return data
