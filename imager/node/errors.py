"""The kinds of errors of a machine's own image cache."""

from __future__ import annotations

from imager.support.errors import HostError


class UnusableDiskError(HostError):
    """No disk can hold the image cache, or a disk is in use or not blank."""

    remedy = (
        "`imager node doctor` shows the disks and why each is skipped. Only blank disks, and free "
        "space in a valid GPT, are ever written to."
    )


class MountFailedError(HostError):
    """A volume cannot be mounted or unmounted."""

    remedy = "`imager node doctor` shows the volumes; the kernel log (dmesg) has the reason."
