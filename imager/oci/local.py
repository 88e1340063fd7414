"""Parses the entries of a list of images.

    NAME                                 an image in a registry, also docker://NAME
    NAME=docker://OTHER                  the same, cached under another name
    [NAME=]oci:DIR[:tag]                 an OCI image layout
    [NAME=]oci-archive:FILE[:tag]        a tar of one
    [NAME=]docker-archive:FILE[:ref]     an archive of `docker save`
    NAME=dir:DIR                         a skopeo directory

NAME is the reference that the machine requests. Without NAME, a local source is cached under the
names stored in it: with a tag or reference, that one image, otherwise all its images. DIR and FILE
end at the first colon, as for skopeo (containers-transports(5)). Archives may be compressed.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imager.oci.errors import InvalidReferenceError
from imager.oci.layout import Layout, LayoutImage, entry_names, fits
from imager.oci.platform import Platform
from imager.oci.reference import Reference, is_strict_reference
from imager.oci.source import ImageSource
from imager.support.units import count

_REGISTRY = "docker://"
_SHOWN = 5


class LocalKind(enum.Enum):
    """The kinds of local source, by their prefixes."""

    LAYOUT = "oci"
    OCI_ARCHIVE = "oci-archive"
    DOCKER_ARCHIVE = "docker-archive"
    FOLDER = "dir"


@dataclass(frozen=True, slots=True)
class RemoteEntry:
    """An image in a registry, and its name in the cache."""

    name: Reference
    reference: Reference


@dataclass(frozen=True, slots=True)
class Opened:
    """The images of a local source by name, and warnings, one sentence each."""

    images: tuple[tuple[Reference, ImageSource], ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LocalImage:
    """A local source as written; `selector` is the tag or reference of an image in it."""

    kind: LocalKind
    path: Path
    selector: str | None = None
    name: Reference | None = None

    def open(self, platforms: Sequence[Platform] = ()) -> Opened:
        """Open the image with the given name, or else all images of the source.

        `platforms` select between a layout's entries of the same name. Raises InputError when there
        is no such image, when several match, when the source has no name for an image, or when the
        name pins another digest.
        """
        opened = self._opened(platforms)
        for name, image in opened.images:
            found = image.root().digest
            if name.digest not in (None, found):
                raise InvalidReferenceError(
                    f"the image in {self.path} is not {name}: its digest is {found}",
                    hint="remove the digest from NAME, or pull that image from its registry",
                )
        return opened

    def _opened(self, platforms: Sequence[Platform]) -> Opened:
        match self.kind:
            case LocalKind.LAYOUT:
                return self._in_layout(Layout.open(self.path), platforms)
            case LocalKind.OCI_ARCHIVE:
                return self._in_layout(Layout.open_archive(self.path), platforms)
            case LocalKind.DOCKER_ARCHIVE:
                return self._in_docker_archive()
            case LocalKind.FOLDER:
                from imager.oci.skopeodir import SkopeoDirectory

                return self._opened_as([((), "", SkopeoDirectory.open(self.path))])

    def _in_layout(self, layout: Layout, platforms: Sequence[Platform]) -> Opened:
        wanted: Sequence[Platform | None] = platforms or (None,)
        if self.name is None and self.selector is None:
            entries = [
                entry
                for entry in layout.index.images
                if any(fits(entry, platform) for platform in wanted)
            ]
        else:
            # A layout may have one entry per platform for the same name.
            chosen = (layout.select(name=self.selector, platform=each).entry for each in wanted)
            entries = list(dict.fromkeys(chosen))
        return self._opened_as(
            (
                _full_names([self.selector or "", *entry_names(entry)]),
                str(entry.digest),
                LayoutImage(layout, entry),
            )
            for entry in entries
        )

    def _in_docker_archive(self) -> Opened:
        from imager.oci.docker_archive import DockerArchive

        archive = DockerArchive.open(self.path)
        if self.selector:
            tag = Reference.parse(self.selector)
            return self._opened_as([([tag], "", archive.image(archive.entry(tag)))])
        entries = archive.entries if self.name is None else [archive.entry()]
        return self._opened_as(
            (entry.tags, entry.config, archive.image(entry)) for entry in entries
        )

    def _opened_as(self, found: Iterable[tuple[Sequence[Reference], str, ImageSource]]) -> Opened:
        """Return images under the given name, or else under their own names.

        With a selector, only the first name of an image is used: the requested one.
        """
        images: list[tuple[Reference, ImageSource]] = []
        unnamed: list[str] = []
        for own, what, image in found:
            names = [self.name] if self.name else own[:1] if self.selector else own
            images += ((name, image) for name in names)
            unnamed += [] if names else [what]
        if not images:
            raise InvalidReferenceError(
                f"the image in {self.path} has no full name",
                hint=f"give the name that machines pull it by: NAME={self.kind.value}:{self.path}",
            )
        number, shown = count(len(unnamed), "image"), ", ".join(unnamed[:_SHOWN])
        warning = f"{self.path}: skipped {number} without a full name: {shown}"
        return Opened(tuple(images), (warning,) if unnamed else ())


def parse_entry(text: str) -> LocalImage | RemoteEntry:
    """Parse an entry of a list of images.

    Raises InputError when it does not parse, UnsupportedError for a digest that is not SHA-256.
    """
    written, location = _split_name(text)
    name = None if written is None else Reference.parse(written)
    if location.startswith(_REGISTRY):
        reference = Reference.parse(location.removeprefix(_REGISTRY))
        return RemoteEntry(name or reference, reference)
    prefix, colon, rest = location.partition(":")
    kind = next((kind for kind in LocalKind if colon and kind.value == prefix), None)
    if kind is None and written is None:
        reference = Reference.parse(text)
        return RemoteEntry(reference, reference)
    path, _, selector = (rest, "", "") if kind is LocalKind.FOLDER else rest.partition(":")
    if kind is LocalKind.FOLDER and path and name is None:
        raise InvalidReferenceError(
            f"{text!r} does not name its image, and a skopeo directory contains no name",
            hint=f"write NAME={text}, with the name that machines pull it by",
        )
    if kind is None or not path:
        raise InvalidReferenceError(
            f"{text!r} is not an image source",
            hint="write it as NAME=oci:DIR:TAG, NAME=oci-archive:FILE:TAG, "
            "NAME=docker-archive:FILE:REF, NAME=dir:DIR or docker://NAME",
        )
    return LocalImage(kind, Path(path), selector or None, name)


def _split_name(text: str) -> tuple[str | None, str]:
    if text.startswith((_REGISTRY, *(f"{kind.value}:" for kind in LocalKind))):
        return None, text
    name, equals, location = text.partition("=")
    return (name, location) if equals else (None, text)


def _full_names(names: Iterable[str]) -> list[Reference]:
    """Return the complete references among `names`, once each; others are just a tag."""
    return list(dict.fromkeys(Reference.parse(name) for name in names if is_strict_reference(name)))
