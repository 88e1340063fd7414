"""Index the tar of one image layer: what it puts at each path, and what it removes below.

OCI image specification 1.1, layer.md. A layer is untrusted: its names may not leave the root, and
the number of entries and the decompressed size are limited. Nothing is unpacked.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from imager.content.extents import Content, advanced
from imager.content.rootfiles import FOLDER_MODE
from imager.content.tar import SELINUX_RECORD, read_tar_headers
from imager.content.tar_source import TarPlace
from imager.oci.errors import InvalidImageError
from imager.support.errors import InputError
from imager.support.units import GIB, format_size

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_MOST_ENTRIES = 200_000
_LARGEST = 32 * GIB
_LONGEST_NAME = 4096
_MOST_PARTS = 255
_HINT = "the image is damaged or hostile: pull or save it again from a source that you trust"


@dataclass(frozen=True, slots=True)
class Regular:
    """A regular file."""

    content: Content
    mode: int
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Symbolic:
    """A symbolic link."""

    target: str
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Hard:
    """Another name of the file at the path `target` in the image."""

    target: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Character:
    """A character device."""

    major: int
    minor: int


@dataclass(frozen=True, slots=True)
class Other:
    """Something that cannot be read: a block device, a pipe, a file that is stored sparse."""


@dataclass(frozen=True, slots=True)
class Directory:
    """A folder."""

    mode: int = FOLDER_MODE
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Whiteout:
    """The path is removed from the layers below; `opaque` removes only what is in the folder."""

    opaque: bool


Leaf = Regular | Symbolic | Hard | Character | Other


@dataclass(frozen=True, slots=True)
class Entry:
    """What a layer has at a path, which is given by its parts; the root has none."""

    parts: tuple[str, ...]
    what: Leaf | Directory | Whiteout


def layer_entries(content: Content, *, where: str) -> tuple[Entry, ...]:
    """Return the entries of the layer `content`, a tar that may be compressed, in its order.

    `where` names the layer in messages. Raises InputError for a damaged archive, a name that leaves
    the root, too many entries, or too many bytes.
    """
    place = TarPlace.of_blob(content)
    if place is None:
        raise InvalidImageError(f"{where} is empty", hint=_HINT)
    entries: list[Entry] = []
    try:
        for member in read_tar_headers(place):
            if len(entries) >= _MOST_ENTRIES:
                raise InvalidImageError(f"{where} has more than {_MOST_ENTRIES} entries")
            if not 0 <= member.offset_data + member.size <= _LARGEST:
                raise InvalidImageError(
                    f"{where} is larger than {format_size(_LARGEST)} when decompressed", hint=_HINT
                )
            entries.extend(_entry(member, place, where))
    except InputError as error:
        # The file may be one of many blobs, or have no name.
        message = error.message.replace(str(place.source.path), where)
        raise InvalidImageError(message, hint=error.hint or _HINT) from error
    return tuple(entries)


def _entry(member: tarfile.TarInfo, place: TarPlace, where: str) -> Iterator[Entry]:
    parts = _parts(member.name, where)
    name = parts[-1] if parts else ""
    if name == _OPAQUE:
        yield Entry(parts[:-1], Whiteout(opaque=True))
    elif name.startswith(f"{_WHITEOUT}{_WHITEOUT}"):
        return  # AUFS's own files
    elif name.startswith(_WHITEOUT):
        hidden = name.removeprefix(_WHITEOUT)
        if hidden in ("", ".", ".."):
            raise InvalidImageError(f"{where}: {member.name!r} is not a whiteout", hint=_HINT)
        yield Entry((*parts[:-1], hidden), Whiteout(opaque=False))
    elif member.isdir():
        yield Entry(parts, Directory(member.mode & 0o7777, _label(member)))
    elif parts:
        yield Entry(parts, _leaf(member, place, where))


def _leaf(member: tarfile.TarInfo, place: TarPlace, where: str) -> Leaf:
    if member.issym():
        if len(member.linkname) > _LONGEST_NAME:
            raise InvalidImageError(f"{where}: a link has a target that is too long", hint=_HINT)
        return Symbolic(member.linkname, _label(member))
    if member.islnk():
        return Hard(_parts(member.linkname, where))
    if member.ischr():
        return Character(member.devmajor, member.devminor)
    if not member.isreg() or member.issparse():
        return Other()
    source = advanced(place.source, member.offset_data)
    return Regular(Content.of_source(source, member.size), member.mode & 0o7777, _label(member))


def _label(member: tarfile.TarInfo) -> str | None:
    """Return the SELinux label, which some tools store with the NUL byte that ends it."""
    label = member.pax_headers.get(SELINUX_RECORD)
    return None if label is None else label.rstrip("\0")


def _parts(name: str, where: str) -> tuple[str, ...]:
    """Return the parts of a name below the root; raises InputError for `..` and longer ones."""
    if len(name) > _LONGEST_NAME:
        raise InvalidImageError(f"{where}: the name {name[:40]!r}... is too long", hint=_HINT)
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts or "\0" in name or len(parts) > _MOST_PARTS:
        raise InvalidImageError(
            f"{where}: {name[:80]!r} is not a path inside of an image", hint=_HINT
        )
    return parts
