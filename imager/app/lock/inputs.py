"""The inputs of a build, by digest: what a lock pins and a provenance lists as materials."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from imager.oci.digest import Digest


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
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class BuildInput:
    """One input of a build.

    `name` tells it from others of its kind: the profile field, the file name of a boot asset, or
    the reference of an image of a cache. `place` is where it comes from, a path or a reference as
    the user wrote it. `digest` is that of a file's bytes, of an image's manifest or index, or of
    the list of files of an image cache on this machine.
    """

    kind: InputKind
    name: str
    place: str
    digest: Digest
