"""The inputs of a build, by digest: what a lock pins and a provenance lists as materials."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, PlainSerializer, PlainValidator, WithJsonSchema

from imager.oci.digest import Digest
from imager.oci.pins import Pins
from imager.oci.reference import Reference, is_strict_reference
from imager.support.errors import ImagerError


class InputKind(enum.Enum):
    """What an input is to the build."""

    BOOT_ASSET = "boot-asset"
    BOOT_ASSETS = "boot-assets"
    BASE_INSTALLER = "base-installer"
    SYSTEM_EXTENSION = "system-extension"
    OVERLAY = "overlay"
    IMAGE_CACHE = "image-cache"
    MACHINE_CONFIGURATION = "machine-configuration"
    CERTIFICATE = "certificate"
    PUBLIC_KEY = "public-key"
    IMAGE = "image"


def _digest(value: Any) -> Digest:
    try:
        return value if isinstance(value, Digest) else Digest.parse(value)
    except (ImagerError, TypeError) as error:
        raise ValueError("not sha256: and 64 hexadecimal digits") from error


# As text in a file, with a check.
_Digest = Annotated[
    Digest,
    PlainValidator(_digest),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}),
]


@dataclass(frozen=True, slots=True)
class BuildInput:
    """One input of a build.

    `name` tells it from others of its kind: the profile field, the file name of a boot asset, or
    the reference of an image of a cache. `place` is where it comes from, a path or a reference as
    the user wrote it. `digest` is that of a file's bytes, of an image's manifest or index, or of
    the list of files of an image cache on this machine.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    kind: InputKind
    name: str
    place: str
    digest: _Digest

    @property
    def reference(self) -> Reference | None:
        """The place as a reference to a registry; None for another place."""
        return Reference.parse(self.place) if is_strict_reference(self.place) else None

    def __str__(self) -> str:
        return f"{self.place}@{self.digest}" if self.reference else str(self.digest)


def pins_of(inputs: Iterable[BuildInput]) -> Pins:
    """Return the pins of all inputs that are in registries; all digests are known."""
    pinned = tuple(inputs)
    return Pins(dict(_pinned(pinned)), frozenset(each.digest for each in pinned))


def _pinned(inputs: Iterable[BuildInput]) -> Iterator[tuple[Reference, Digest]]:
    for each in inputs:
        if reference := each.reference:
            yield reference, each.digest
