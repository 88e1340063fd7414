"""Image archives: an index of a tar file, plain or compressed, with its links followed.

The files of a compressed archive are not read in the order in which it stores them, so the archive
is first decompressed to an unnamed temporary file (`plainfile`).
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Mapping
from pathlib import Path

from imager.content.compression import detect_codec
from imager.content.extents import Codec, Content, FileRange, StreamRange
from imager.content.tar import read_tar_headers
from imager.content.tar_source import TarPlace
from imager.content.tree import File
from imager.oci.errors import InvalidImageError
from imager.oci.files import ArchiveFiles
from imager.oci.plainfile import plain_pieces, write_plain
from imager.support.errors import InputError, OutputError, UnsupportedError

_UNREAD = {b"\xfd7zXZ": "unxz", b"BZh": "bunzip2"}
_MOST_MEMBERS = 100_000
_MOST_LINKS = 8


def open_archive(path: Path) -> ArchiveFiles:
    """Return the regular files of the archive at `path`, by their normalised names.

    Links inside the archive are followed; other entries are skipped. Raises InputError when it is
    damaged or has two files of the same name, UnsupportedError when it is sparse or compressed with
    anything but gzip and zstd, HostError when there is no space to decompress it, OutputError when
    it cannot be read.
    """
    codec = _codec(path)
    if codec is None:
        return ArchiveFiles(path, _index(path, path))
    plain = write_plain(path, plain_pieces(StreamRange(path, codec)))
    return ArchiveFiles(path, _index(plain, path))


def _codec(path: Path) -> Codec | None:
    try:
        with path.open("rb") as file:
            start = file.read(8)
        for magic, program in _UNREAD.items():
            if start.startswith(magic):
                raise UnsupportedError(
                    f"{path} uses an unsupported compression",
                    hint=f"decompress it first, with {program}",
                )
        return detect_codec(path)
    except FileNotFoundError as error:
        raise InvalidImageError(f"{path} does not exist") from error
    except IsADirectoryError as error:
        raise InvalidImageError(f"{path} is a folder, not an archive") from error
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}") from error


def _index(tar: Path, path: Path) -> Mapping[str, File]:
    """Return the files of `tar`, the decompressed copy of the archive `path`."""
    files: dict[str, File] = {}
    links: dict[str, str] = {}
    try:
        for count, member in enumerate(read_tar_headers(TarPlace(FileRange(tar)))):
            if count >= _MOST_MEMBERS:
                raise InvalidImageError(f"{path} has more than {_MOST_MEMBERS} entries")
            _add_member(tar, member, files, links)
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}") from error
    except InputError as error:
        message = error.message.replace(str(tar), str(path))
        raise type(error)(message, hint=error.hint) from error
    return files | _followed(files, links)


def _add_member(
    tar: Path, member: tarfile.TarInfo, files: dict[str, File], links: dict[str, str]
) -> None:
    name = posixpath.normpath(member.name)
    if member.issparse():
        raise UnsupportedError(
            f"{tar}: {name} is a sparse entry, which is not supported",
            hint="make the archive without tar's --sparse",
        )
    if member.issym():
        links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
    elif member.islnk():
        links[name] = posixpath.normpath(member.linkname)
    elif member.isreg():
        if member.offset_data + member.size > tar.stat().st_size:
            raise InvalidImageError(f"{tar} is truncated: {name} extends past the end of the file")
        # Readers disagree about which of two entries with the same name wins.
        if name in files:
            raise InvalidImageError(f"{tar} contains {name} twice")
        source = FileRange(tar, member.offset_data)
        files[name] = File(name, Content.of_source(source, member.size))


def _followed(files: Mapping[str, File], links: Mapping[str, str]) -> dict[str, File]:
    followed: dict[str, File] = {}
    for name, target in links.items():
        end = target
        for _ in range(_MOST_LINKS):
            end = links.get(end, end)
        if end in files and name not in files:
            followed[name] = files[end]
    return followed
