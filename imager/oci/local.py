"""Images on this machine, as written in a list of images.

    NAME=oci:DIR[:tag]                  an OCI image layout
    [NAME=]docker-archive:FILE[:ref]    an archive of `docker save`

NAME is the reference that the machine will ask for. DIR and FILE end at the first colon, as for
skopeo (containers-transports(5)).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from imager.errors import ImagerError, InputError
from imager.oci.layout import Layout, entry_names
from imager.oci.platform import Platform
from imager.oci.reference import Reference
from imager.oci.source import ImageSource


class LocalKind(enum.Enum):
    """The kinds of local source, by the prefix they are written with."""

    LAYOUT = "oci"
    DOCKER_ARCHIVE = "docker-archive"


@dataclass(frozen=True, slots=True)
class LocalImage:
    """A local source as written: `selector` is the tag or reference inside of it."""

    kind: LocalKind
    path: Path
    selector: str | None = None
    name: Reference | None = None

    @classmethod
    def parse(cls, text: str) -> LocalImage | None:
        """Return the local source that `text` names, None when it is a registry reference.

        Raises InputError when it is one and does not parse.
        """
        name, location = _split_name(text)
        prefix, colon, rest = location.partition(":")
        kind = next((kind for kind in LocalKind if colon and kind.value == prefix), None)
        if kind is None and name is None:
            return None
        path, _, selector = rest.partition(":")
        if kind is None or not path:
            raise InputError(
                f"{text!r} is not an image source",
                hint="write it as NAME=oci:DIR:TAG or NAME=docker-archive:FILE:REF",
            )
        reference = None if name is None else Reference.parse(name)
        return cls(kind, Path(path), selector or None, reference)

    def open(self, *, platform: Platform | None = None) -> tuple[Reference, ImageSource]:
        """Return the source, and the name of its image: the one written, else its own.

        `platform` chooses between a layout's entries of the same name. Raises InputError when
        there is no such image, when several fit, when nothing tells a name, or when the name
        pins another digest.
        """
        if self.kind is LocalKind.LAYOUT:
            name, image = self._open_layout(platform)
        else:
            name, image = self._open_archive()
        found = image.root().digest
        if name.digest not in (None, found):
            raise InputError(
                f"{self.path} is not {name}: its digest is {found}",
                hint="leave the digest out of NAME, or pull the image that it names",
            )
        return name, image

    def _open_layout(self, platform: Platform | None) -> tuple[Reference, ImageSource]:
        image = Layout.open(self.path).select(name=self.selector, platform=platform)
        return self._named(entry_names(image.entry)), image

    def _open_archive(self) -> tuple[Reference, ImageSource]:
        from imager.oci.docker_archive import DockerArchive

        tag = Reference.parse(self.selector) if self.selector else None
        image = DockerArchive.open(self.path).select(tag=tag)
        return self._named([str(tag)] if tag else map(str, image.tags)), image

    def _named(self, own_names: Iterable[str]) -> Reference:
        if self.name is not None:
            return self.name
        found = {reference for name in own_names if (reference := _full(name))}
        if len(found) != 1:
            what = "no full name" if not found else f"{len(found)} names"
            raise InputError(
                f"{self.path} has {what} for the image",
                hint=f"write the name the machine will ask for: NAME={self.kind.value}:{self.path}",
            )
        return found.pop()


def _split_name(text: str) -> tuple[str | None, str]:
    if any(text.startswith(f"{kind.value}:") for kind in LocalKind):
        return None, text
    name, equals, location = text.partition("=")
    return (name, location) if equals else (None, text)


def _full(name: str) -> Reference | None:
    try:
        return Reference.parse_strict(name)
    except ImagerError:
        return None
