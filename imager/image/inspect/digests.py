"""The digests of what an image boots with: its files, and the parts of its EFI binaries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager

from imager.content.extents import Content
from imager.content.random_access import ContentReader
from imager.content.reading import hash_content
from imager.content.tree import File
from imager.efi.measured import pe_sections
from imager.efi.uki import Section
from imager.formats.initramfs import find_archives
from imager.image.inspect.inspection import Inspected
from imager.image.inspect.notes import Notes
from imager.image.inspect.source import OpenedSource
from imager.image.inspect.volumes import whole_tree
from imager.oci.digest import Digest
from imager.talos.constants import CACHE_FOLDER

_IN_CACHE = ("blob/", "manifests/", f"{CACHE_FOLDER}/")
_KERNEL, _INITRAMFS, _PCR_KEY = ".linux", ".initrd", ".pcrpkey"
_MZ = b"MZ"
_LARGEST_KEY = 64 << 10
# Times the size of the image: files of a damaged image may overlap.
_MOST_READ = 8


def digests_inside(opened: OpenedSource, inspected: Inspected) -> dict[Digest, str]:
    """Return the SHA-256 of each file of an image but those of a cache, with its place.

    Kernels, initramfs and public keys of UKIs are files of their own; of an initramfs the part
    before each archive that follows, too; a public key counts in DER. What is damaged is left out.
    Raises OutputError if the image cannot be read.
    """
    found: dict[Digest, str] = {}
    left = _MOST_READ * opened.content.size
    for place, content in _contents(opened, inspected):
        if content.size > left:
            continue
        left -= content.size
        found.setdefault(Digest(hash_content(content).hex()), place)
    return found


def _contents(opened: OpenedSource, inspected: Inspected) -> Iterator[tuple[str, Content]]:
    for place, file in _files(opened, inspected):
        yield place, file.content
        with ContentReader(file.content) as reader:
            is_efi = reader.read(0, len(_MZ)) == _MZ
        if is_efi:
            yield from _sections(place, file)
        elif "init" in file.path:
            yield from _beginnings(place, file.content)


def _files(opened: OpenedSource, inspected: Inspected) -> Iterator[tuple[str, File]]:
    if not inspected.volumes:
        yield opened.short_name, File(opened.short_name, opened.content)
    for volume in inspected.volumes:
        files: Iterable[File] = ()
        with _ignored(volume.place):
            files = whole_tree(volume).files
        for file in files:
            if not file.path.startswith(_IN_CACHE):
                yield f"{volume.place}: {file.path}", file


def _sections(place: str, file: File) -> Iterator[tuple[str, Content]]:
    sections: Iterable[Section] = ()
    with _ignored(place):
        sections = pe_sections(file.content, name=place)
    for section in sections:
        name = f"{place} {section.name}"
        if section.name == _PCR_KEY:
            yield from _public_key(name, section.content)
        elif section.name in (_KERNEL, _INITRAMFS):
            yield name, section.content
            if section.name == _INITRAMFS:
                yield from _beginnings(name, section.content)


def _beginnings(place: str, content: Content) -> Iterator[tuple[str, Content]]:
    """Yield what an initramfs was before archives were appended to it."""
    ends: list[int] = []
    with _ignored(place), ContentReader(content) as reader:
        ends += (archive.end for archive in find_archives(reader))
    for end in ends[:-1]:
        yield f"{place}, first {end} bytes", content.slice(0, end)


def _ignored(place: str) -> AbstractContextManager[None]:
    """Return a block that damage ends: a verification reports it elsewhere."""
    return Notes().reading(place)


def _public_key(place: str, content: Content) -> Iterator[tuple[str, Content]]:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_public_key,
    )

    with ContentReader(content) as reader:
        pem = reader.read(0, _LARGEST_KEY)
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        return
    yield place, Content.of_bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
