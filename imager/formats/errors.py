"""The kinds of errors of file systems and partition tables."""

from __future__ import annotations

from imager.support.errors import InputError


class DamagedVolumeError(InputError):
    """A file system or partition table that is read breaks its own rules."""

    remedy = "Copy or build the image again; check it with fsck or sgdisk."


class VolumeTooSmallError(InputError):
    """The files do not fit in a file system of this size."""

    remedy = "Make the disk or volume larger. The message states the smallest size if it is known."


class ImpossibleNameError(InputError):
    """A file's name, or its size, cannot be stored in the file system."""

    remedy = "Rename the file, or use an output with another file system."
