"""Archives of images: a tar, plain or compressed, and where each of its files lies.

The files of a compressed archive are needed in another order than it has them, so it is
decompressed once, to a file without a name (`plainfile`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imager.content.compression import detect_codec
from imager.content.extents import Codec, StreamRange
from imager.oci.plainfile import plain_pieces, write_plain
from imager.oci.source import LocalRange, NotFoundError
from imager.oci.tarindex import read_tar_index
from imager.support.errors import InputError, OutputError, UnsupportedError

_UNREAD = {b"\xfd7zXZ": "unxz", b"BZh": "bunzip2"}


@dataclass(frozen=True, slots=True)
class Archive:
    """An opened archive: its `path` as it was given, and the places of its files by name."""

    path: Path
    files: Mapping[str, LocalRange]
    # What the places are in stays open as long as they are used.
    _plain: Path | None = field(default=None, repr=False)

    @classmethod
    def open(cls, path: Path) -> Archive:
        """Return the archive at `path`.

        Raises InputError when it is damaged, UnsupportedError when it is sparse or compressed with
        anything but gzip and zstd, HostError when there is no space to decompress it, OutputError
        when it cannot be read.
        """
        codec = _codec(path)
        if codec is None:
            return cls(path, read_tar_index(path))
        plain = write_plain(path, plain_pieces(StreamRange(path, codec)))
        try:
            return cls(path, read_tar_index(plain), plain)
        except InputError as error:
            message = error.message.replace(str(plain), str(path))
            raise type(error)(message, hint=error.hint) from error

    def find(self, name: str) -> LocalRange:
        """Return the place of a file; raises NotFoundError when it is not there."""
        place = self.files.get(name)
        if place is None:
            raise NotFoundError(
                f"{self.path}: {name} is missing", hint="the archive is incomplete: save it again"
            )
        return place


def _codec(path: Path) -> Codec | None:
    try:
        with path.open("rb") as file:
            start = file.read(8)
        for magic, program in _UNREAD.items():
            if start.startswith(magic):
                raise UnsupportedError(
                    f"{path} is compressed in a way that is not supported",
                    hint=f"decompress it first, with {program}",
                )
        return detect_codec(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder, not an archive") from error
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}") from error
