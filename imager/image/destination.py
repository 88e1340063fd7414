"""Choose where an output is written, and check what is already there."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from imager.content.compression import StreamReader, detect_codec
from imager.profile.output_name import name_suffix
from imager.support.errors import AlreadyExistsError, ImagerError, InputError
from imager.support.fields import setting
from imager.support.units import SECTOR_SIZES

_SUFFIXES = (".iso", ".raw", ".img", ".efi", ".xz", ".zst", ".gz", ".tar", ".qcow2", ".vhd", ".ova")
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}


@dataclass(frozen=True, slots=True)
class Replaced:
    """A file that an output replaces: its size in bytes, and its modification time.

    `sector_size` is that of its partition table, in bytes; None without one.
    """

    size: int
    modified: datetime
    sector_size: int | None


def output_path(given: Path, name: str) -> Path:
    """Return the path of the output `name`; the user gave a folder or the path itself.

    `given` is a path if it ends in the output's suffix and is not a folder; otherwise it is a
    folder, which need not exist. Raises InputError if something else exists there, and for the
    suffix of another kind of output.
    """
    suffix = name_suffix(name)
    if given.is_dir():
        return given / name
    if suffix and given.name.endswith(suffix):
        return given
    if given.exists():
        if kind := _kind(given.stat()):
            raise InputError(
                f"--output {given} is {kind}, not a folder",
                hint="name a folder; for a disk use --output-device, for a pipe --output -",
            )
        ends = f", and not a file that ends in {suffix}" if suffix else ""
        raise InputError(
            f"--output {given} is not a folder{ends}", hint="name a folder, or the file to write"
        )
    stem, other = _without_suffixes(given.name)
    if other:
        ends = f"ends in {suffix}" if suffix else "has no suffix"
        raw = f", or choose {setting('output.outFormat', 'raw')}" if _packs(suffix, other) else ""
        raise InputError(
            f"--output {given} ends in {other}, and this output {ends}",
            hint=f"name it {stem or name.removesuffix(suffix)}{suffix}, or name a folder{raw}",
        )
    return given / name


def check_replaceable(path: Path, *, clobber: bool) -> Replaced | None:
    """Return the file that an output at `path` replaces; None if there is none.

    Raises InputError if it is not a regular file, and for any file without `clobber`.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot inspect {path}: {error.strerror}") from error
    if kind := _kind(status):
        raise InputError(
            f"{path} is {kind}, and an output replaces only regular files",
            hint="remove it, or write to another place with --output",
        )
    if not clobber:
        raise AlreadyExistsError(
            f"{path} exists already",
            hint="omit --no-clobber to replace it, or write to another place with --output",
        )
    # Most outputs are new.
    from imager.formats.gpt.read import gpt_sector_size

    return Replaced(
        status.st_size,
        datetime.fromtimestamp(int(status.st_mtime), UTC),
        gpt_sector_size(_start(path)),
    )


def _without_suffixes(name: str) -> tuple[str, str]:
    """Split the output suffixes, in any case, off the end of `name`; return both parts."""
    stem = name
    while found := next((each for each in _SUFFIXES if stem.lower().endswith(each)), ""):
        stem = stem[: -len(found)]
    return stem, name[len(stem) :]


def _kind(status: os.stat_result) -> str:
    """Return the kind of a file that is not a regular one; empty for a regular file."""
    return _KINDS.get(stat.S_IFMT(status.st_mode), "")


def _packs(suffix: str, other: str) -> bool:
    """Whether `suffix` is that of the compressed output whose own suffix is `other`."""
    return suffix != other and suffix.startswith(other)


def _start(path: Path) -> bytes:
    """Return the first bytes of an image, decompressed; empty if it cannot be read."""
    try:
        codec = detect_codec(path)
        if codec is None:
            with path.open("rb") as file:
                return file.read(2 * max(SECTOR_SIZES))
        with StreamReader(path, codec) as stream:
            return stream.read(2 * max(SECTOR_SIZES))
    except (OSError, ImagerError):
        return b""
