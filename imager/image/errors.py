"""The kinds of errors of outputs."""

from __future__ import annotations

from imager.support.errors import InputError, UnsupportedError


class DiskTooSmallError(InputError):
    """A disk or stick of the chosen size does not hold what it must."""

    remedy = (
        "Choose the size that the message states, or omit --image-disk-size to "
        "use the smallest size that works. --dry-run shows all parts with their sizes."
    )


class ImpossibleBootloaderError(UnsupportedError):
    """The chosen bootloader does not go with SecureBoot, the sectors or the architecture."""

    remedy = "Omit --bootloader to use one that works."


class UnsuitableDeviceError(InputError):
    """An image cannot be written to the disk that was named."""

    remedy = (
        "Name a whole disk that nothing uses and that is large enough: `lsblk` lists the disks, "
        "their sizes and what uses them."
    )


class OverlayFailedError(InputError):
    """An overlay image is not one, or its installer fails."""

    remedy = (
        "Check --overlay-name, --overlay-image and --overlay-option; the message ends with what "
        "the installer said."
    )
