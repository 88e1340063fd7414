"""tar archives: plan one as a Content, and index one without unpacking it.

Format: POSIX.1-2017 pax interchange format (ustar where it suffices),
https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html. Only regular files and
folders are indexed; for other members only the names are recorded, because the content is never
needed. An archive nested in another one is read in place.

The end of an archive is that of Go's archive/tar, with which container engines and Talos read: the
two zero blocks, and the padding of the last member, may be missing, as in layers of `umoci insert`.
Only an archive of unknown size needs them: it may have been truncated there.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import cast

from imager.content.extents import Content, StreamRange, advanced
from imager.content.random_access import ContentReader
from imager.content.rootfiles import FOLDER_MODE, RootFiles
from imager.content.tar_source import BoundedArchive, EndError, TarPlace, opened_archive
from imager.content.tree import Device, File, Link, PlacedFile, Tree, VolumePlan
from imager.support.errors import InputError
from imager.support.units import align_up

BLOCK = 512
END = bytes(2 * BLOCK)
# The pax record of a file's SELinux label, as of GNU tar, bsdtar and mksquashfs.
SELINUX_RECORD = "SCHILY.xattr.security.selinux"
_CHUNK = 1 << 20
_LONGEST_PATH = 4096
_LONGEST_NAME = 255
# Public, but missing from the type stubs.
_EndMarkerError: type[tarfile.HeaderError] = vars(tarfile)["EOFHeaderError"]
_NoHeaderError: type[tarfile.HeaderError] = vars(tarfile)["EmptyHeaderError"]


def plan_tar(tree: Tree, *, timestamp: int) -> VolumePlan:
    """Return an archive of `tree`; see `plan_root_tar`."""
    return plan_root_tar(RootFiles(tree), timestamp=timestamp)


def plan_root_tar(root: RootFiles, *, timestamp: int) -> VolumePlan:
    """Return an archive of `root`: sorted folders, then files in tree order, then nodes.

    Owner 0:0, modification time `timestamp`. Nodes are links and devices. SELinux labels are in
    pax records.
    """
    tree = root.tree
    heads = b"".join(_folder_header(path, timestamp, root) for path in sorted(tree.folders))
    parts = [(0, Content.of_bytes(heads))]
    placed: list[PlacedFile] = []
    end = len(heads)
    for file in tree.files:
        header = _file_header(file, timestamp, root)
        start = end + len(header)
        parts += [(end, Content.of_bytes(header)), (start, file.content)]
        placed.append(PlacedFile(file.path, start, file.content.size))
        end = start + align_up(file.content.size, BLOCK)
    for node in tree.nodes:
        parts.append((end, Content.of_bytes(_node_header(node, timestamp, root))))
        end += parts[-1][1].size
    return VolumePlan(Content.compose(end + len(END), parts), tuple(placed))


def _file_header(file: File, timestamp: int, root: RootFiles) -> bytes:
    """Return the ustar header of a file, preceded by pax records if needed."""
    info = tarfile.TarInfo(file.path)
    info.size = file.content.size
    info.mode = file.mode
    return _header(info, timestamp, root.labels.get(file.path))


def _folder_header(path: str, timestamp: int, root: RootFiles) -> bytes:
    """Return the entry of a folder; its name ends with a slash."""
    info = tarfile.TarInfo(path)
    info.type = tarfile.DIRTYPE
    info.mode = root.folder_modes.get(path, FOLDER_MODE)
    return _header(info, timestamp, root.labels.get(path))


def _node_header(node: Link | Device, timestamp: int, root: RootFiles) -> bytes:
    info = tarfile.TarInfo(node.path)
    match node:
        case Link():
            info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, node.target
        case Device():
            info.type, info.mode = tarfile.CHRTYPE, 0o600
            info.devmajor, info.devminor = node.major, node.minor
    return _header(info, timestamp, root.labels.get(node.path))


def _header(info: tarfile.TarInfo, timestamp: int, label: str | None) -> bytes:
    info.mtime = timestamp
    if label is not None:
        info.pax_headers = {SELINUX_RECORD: label}
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


Keep = Callable[[str, int], bool]


def _keep_nothing(_path: str, _size: int) -> bool:
    return False


def open_tar(place: TarPlace, *, keep: Keep = _keep_nothing) -> Tree:
    """Return the files and folders of the archive at `place`, in archive order.

    Links, devices and sparse files are in `others`. A plain archive is only indexed. A compressed
    one is decompressed once; files for which `keep(path, size)` is true are kept in memory. Raises
    InputError for a truncated or damaged archive, and for invalid or duplicate names.
    """
    with opened_archive(place) as archive:
        return _tree(place, archive, keep)


def first_names(place: TarPlace, count: int) -> tuple[str, ...]:
    """Return the unchecked names of the first `count` members; empty if it is not a tar."""
    names: list[str] = []
    with suppress(InputError), opened_archive(place) as archive:
        names.extend(info.name for info in islice(_headers(archive), count))
    return tuple(names)


def read_tar_headers(place: TarPlace) -> Iterator[tarfile.TarInfo]:
    """Yield the header of every member of the archive at `place`, names unchecked.

    Raises InputError for an incomplete archive. The standard library's own loop would treat
    damage in the middle as the end of the archive.
    """
    with opened_archive(place) as archive:
        yield from _headers(archive)


def content_headers(archive: Content) -> Iterator[tarfile.TarInfo]:
    """Yield the header of every member of `archive`, names unchecked; raises PARSER_ERRORS."""
    with ContentReader(archive) as reader:
        yield from _headers(BoundedArchive(reader.read, archive.size, has_known_size=True))


def _tree(place: TarPlace, archive: BoundedArchive, keep: Keep) -> Tree:
    path = place.source.path
    files: list[File] = []
    folders: list[str] = []
    others: list[str] = []
    for info in _headers(archive):
        name = _checked_name(path, info)
        if info.isdir():
            folders.append(name)
        elif info.issparse() or not info.isreg():
            others.append(name)
        else:
            source = advanced(place.source, info.offset_data)
            kept = None
            if isinstance(source, StreamRange) and keep(name, info.size):
                kept = _read_file(name, info, archive)
            files.append(File(name, Content.of_source(source, info.size), data=kept))
    try:
        return Tree.of(files, filter(None, folders), others=others)
    except InputError as error:
        raise InputError(f"{path}: {error.message}", hint=error.hint) from error


def _headers(archive: BoundedArchive) -> Iterator[tarfile.TarInfo]:
    """Yield every header; the data of each file must be in the archive."""
    tar = tarfile.TarFile(fileobj=cast("tarfile._Fileobj", archive))
    info = tar.next()
    while info is not None:
        yield info
        archive.require(min(info.offset_data + info.size, tar.offset))
        info = _next_header(tar, archive)


def _next_header(tar: tarfile.TarFile, archive: BoundedArchive) -> tarfile.TarInfo | None:
    """Return the next header, or None at the end of the archive."""
    try:
        archive.seek(tar.offset)
        return tarfile.TarInfo.fromtarfile(tar)
    except _EndMarkerError:
        return None
    except (EndError, _NoHeaderError):
        if archive.has_known_size:
            return None
        raise


def _checked_name(path: Path, info: tarfile.TarInfo) -> str:
    if any(not char.isprintable() for char in info.name) or info.size < 0:
        raise InputError(f"{path}: {info.name!r} is not a name and size that a file can have")
    name = info.name.removeprefix("./").rstrip("/")
    if info.isdir() and name in ("", "."):
        return ""
    longest = max(len(part.encode()) for part in name.split("/"))
    if len(name.encode()) > _LONGEST_PATH or longest > _LONGEST_NAME:
        raise InputError(f"{path}: the name {info.name[:40]!r}... is too long")
    return name


def _read_file(name: str, info: tarfile.TarInfo, archive: BoundedArchive) -> bytes:
    archive.seek(info.offset_data)
    data = bytearray()
    while len(data) < info.size:
        piece = archive.read(min(_CHUNK, info.size - len(data)))
        if not piece:
            raise tarfile.ReadError(f"it ends inside of {name}")
        data += piece
    return bytes(data)
