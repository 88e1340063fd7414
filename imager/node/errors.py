"""The kinds of errors of a machine's own image cache."""

from __future__ import annotations

from imager.support.errors import HostError


class UnusableDiskError(HostError):
    """No disk can hold the image cache, or a disk is in use or not blank."""

    remedy = (
        "`imager node doctor` shows the disks and why each is passed over. Only blank disks and "
        "free space of a sound GPT are ever written."
    )


class MountFailedError(HostError):
    """A volume cannot be mounted or unmounted."""

    remedy = "`imager node doctor` shows the volumes; the kernel's log (dmesg) has the reason."
