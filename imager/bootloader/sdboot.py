"""systemd-boot: the files of an EFI system partition that boots one UKI.

https://uapi-group.org/specifications/specs/boot_loader_specification/ (type 2 entries), and
loader.conf(5).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from imager.arch import Arch
from imager.extents import Content

_LOADER_CONF = b"timeout 10\nsecure-boot-enroll off\n"


@dataclass(frozen=True, slots=True)
class BootFile:
    """A file of the EFI system partition; `path` is relative, with forward slashes."""

    path: str
    content: Content
    read_only: bool = False


def boot_files(arch: Arch, *, version: str, loader: Content, uki: Content) -> tuple[BootFile, ...]:
    """Return the ESP's files: the loader as removable-media default, the UKI, the configuration.

    `loader/random-seed` is there and read-only, so that systemd-boot does not try to write one
    on a medium that is read-only; it carries no secret.
    """
    seed = hashlib.sha256(b"imager random seed, credited nothing").digest()
    return (
        BootFile(f"EFI/BOOT/{arch.efi_boot_file}", loader),
        BootFile(f"EFI/Linux/Talos-{version}.efi", uki),
        BootFile("loader/loader.conf", Content.of_bytes(_LOADER_CONF)),
        BootFile("loader/random-seed", Content.of_bytes(seed), read_only=True),
    )
