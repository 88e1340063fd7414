"""Open a source as the raw content of an image, through the formats that contain it.

Disk image formats are read in place: their clusters are parts of the file. A compressed file is
decompressed to a temporary file, whose zeros are holes: most formats have no index, and the
metadata of a disk is at both of its ends.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from imager.content.compression import StreamReader, codec_of, first_bytes, stream_codec
from imager.content.extents import Codec, Content, FetchedRange, StreamRange
from imager.content.random_access import ContentReader, file_content
from imager.content.streams import decompress, new_file, stream_of
from imager.formats.cpio import MAGICS
from imager.formats.qcow2_read import is_qcow2, open_qcow2
from imager.formats.tar_disk import begins_with_disk, find_tar_disk, is_tar
from imager.formats.vhd_read import FOOTER, is_vhd, open_vhd
from imager.formats.vmdk_read import is_vmdk, open_vmdk
from imager.support.errors import ImagerError, InputError

if TYPE_CHECKING:
    from imager.oci.remote_file import RemoteFile
    from imager.oci.settings import RegistrySettings

_HEAD = 512
# The largest block of zstd has 128 KiB.
_FIRST_BLOCK = 256 << 10
_MOST_FORMATS = 8
# What is behind it is not read: time and space are bounded whatever a file decompresses to.
_LARGEST = 16 << 30
_LARGEST_TRANSFER = 256 << 20


@dataclass(frozen=True, slots=True)
class OpenedSource:
    """An image: its raw `content`, and the formats around it, outside in.

    `stored` is the size of the file as it is. `problems` say what of the formats is damaged,
    `remarks` what is not read because of them. `remote` is set for a URL: only parts of it should
    be read.
    """

    name: str
    content: Content
    stored: int
    remote: RemoteFile | None = None
    formats: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def short_name(self) -> str:
        """The name without folders."""
        return self.name.rpartition("/")[2] or self.name


def open_source(
    place: str,
    *,
    scratch: Path,
    settings: RegistrySettings | None = None,
    whole: bool = False,
) -> OpenedSource:
    """Open an image at a path or an https:// URL.

    `scratch` is a folder for temporary files, which its content may refer to. `settings` are those
    of the network, for certificates and retries. Of a URL, 256 MiB are transferred at most, or the
    `whole` of it. Raises InputError if it cannot be read or is
    damaged, UnsupportedError for a format that needs other files, HostError if there is no space to
    decompress it, DependencyError if a server fails.
    """
    if is_url(place):
        return unwrapped(_remote(place, scratch, settings, whole=whole), scratch)
    content = stored_content(place)
    return unwrapped(OpenedSource(str(Path(place)), content, content.size), scratch)


def stored_content(place: str, opened: OpenedSource | None = None) -> Content:
    """Return the bytes of a source as it is stored, with the formats around the image.

    A URL must have been `opened`. Raises InputError for a file that cannot be read.
    """
    if opened is not None and opened.remote is not None:
        return Content.of_source(FetchedRange(opened.remote), opened.remote.size)
    path = Path(place)
    try:
        return file_content(path.resolve())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def is_url(place: str) -> bool:
    """Return whether a source is a URL; an existing path takes precedence."""
    return place.startswith(("https://", "http://")) and not Path(place).exists()


def may_be_archive(path: Path) -> bool:
    """Return whether a file is a tar, maybe compressed, without a disk in it."""
    try:
        content = file_content(path)
    except OSError:
        return False
    with ContentReader(content) as reader:
        head = reader.read(0, _HEAD)
    codec = codec_of(head)
    if codec is not None:
        with suppress(ImagerError), StreamReader(path, codec) as stream:
            head = stream.read(_HEAD)
        content = Content.of_source(StreamRange(path, codec), _LARGEST)
    return is_tar(head) and not begins_with_disk(content)


def _remote(
    url: str, scratch: Path, given: RegistrySettings | None, *, whole: bool
) -> OpenedSource:
    from imager.oci.httptransport import HttpTransport
    from imager.oci.remote_file import RemoteFile
    from imager.oci.settings import RegistrySettings
    from imager.oci.tracing import public_url

    settings = given or RegistrySettings()
    tls = settings.hosts.tls
    if url.startswith("http://") and tls.verify:
        raise InputError(f"{public_url(url)} is not encrypted", hint="use https://, or --insecure")
    transport = HttpTransport(tls=tls, patience=settings.patience)
    path = new_file(scratch, "fetched")
    budget = _LARGEST if whole else _LARGEST_TRANSFER
    file = RemoteFile(url, path, transport, patience=settings.patience, budget=budget)
    content = Content.of_source(FetchedRange(file), file.size)
    return OpenedSource(file.url, content, file.size, file, ("url",))


def unwrapped(source: OpenedSource, scratch: Path) -> OpenedSource:
    """Return the source with its content taken out of the formats around it."""
    for _ in range(_MOST_FORMATS):
        inner = _inner(source, scratch)
        if inner is None:
            return source
        source = inner
    raise InputError(f"{source.name}: more than {_MOST_FORMATS} formats are nested")


def _inner(source: OpenedSource, scratch: Path) -> OpenedSource | None:
    """Return the source without its outermost format; None if it is raw."""
    content = source.content
    with ContentReader(content) as reader:
        head = reader.read(0, _HEAD)
        tail = reader.read(max(content.size - FOOTER, 0), FOOTER)
    codec = stream_codec(head)
    if codec is not None:
        return _decompressed(source, codec, scratch)
    formats: tuple[tuple[bool, str, Callable[..., Content]], ...] = (
        (is_qcow2(head), "qcow2", open_qcow2),
        (is_vmdk(head), "vmdk", open_vmdk),
        (is_vhd(head, tail), "vhd", open_vhd),
    )
    for matches, name, open_format in formats:
        if matches:
            return _inside(source, name, open_format(content, name=source.name))
    return _from_tar(source) if is_tar(head) else None


def _inside(source: OpenedSource, name: str, content: Content) -> OpenedSource:
    return replace(source, content=content, formats=(*source.formats, name))


def _decompressed(source: OpenedSource, codec: Codec, scratch: Path) -> OpenedSource | None:
    with ContentReader(source.content) as reader:
        head = reader.read(0, _FIRST_BLOCK)
    if first_bytes(head, codec, len(MAGICS[0])).startswith(MAGICS):
        # The archives of an initramfs are compressed one by one.
        return None
    stream = stream_of(source.content, codec, scratch=scratch)
    found = decompress(stream, new_file(scratch, "plain"), most=_LARGEST)
    inner = _inside(source, codec.value, found.content)
    if not found.problem:
        return inner
    where = f"behind byte {found.content.size}: {found.problem.replace(str(stream.path), 'it')}"
    if found.content.size == _LARGEST:
        return replace(inner, remarks=(*source.remarks, where))
    return replace(inner, problems=(*source.problems, where))


def _from_tar(source: OpenedSource) -> OpenedSource | None:
    found = find_tar_disk(source.content, name=source.name)
    if found is None:
        return None
    others = (f"the disk {name} beside {found.name}" for name in found.others)
    inner = _inside(source, "ova" if found.is_ova else "tar", found.content)
    return replace(inner, remarks=(*source.remarks, *others))
