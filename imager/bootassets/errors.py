"""The kinds of errors of boot assets."""

from __future__ import annotations

from imager.support.errors import InputError


class BootAssetError(InputError):
    """A kernel, initramfs or bootloader is missing, damaged, or for another architecture."""

    id = "unusable-boot-asset"
    remedy = "Fetch boot assets with `imager assets fetch`, or name their folder with --assets."
