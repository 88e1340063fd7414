"""The platforms that Talos runs on: their kernel arguments, and the size of their disk images.

https://github.com/siderolabs/talos, internal/app/machined/pkg/runtime/v1alpha1/platform and
pkg/imager/profile/default.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from imager.support.units import MIB
from imager.talos.kernel_arguments import KernelArgument

METAL = "metal"
# The smallest disk that Talos makes, and the one of most clouds; both before Talos 1.10.
_SMALL = 1246 * MIB
_LARGE = 8192 * MIB


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform: its kernel arguments after `talos.platform`, in order.

    `disk_size` is the size in bytes of its disk image with boot partitions of
    `DISK_SIZE_INCLUDES` bytes; larger boot partitions add to it.
    """

    name: str
    disk_size: int
    arguments: tuple[KernelArgument, ...] = ()


# The bytes in front of META with the boot partitions of Talos 1.9.
DISK_SIZE_INCLUDES = 1102 * MIB


def _arguments(text: str) -> tuple[KernelArgument, ...]:
    return tuple(map(KernelArgument, text.split()))


_NO_RENAMED_LINKS = _arguments("net.ifnames=0")
_SERIAL_AND_SCREEN = _arguments("console=tty1 console=ttyS0 net.ifnames=0")
_LINODE = _arguments("console=ttyS0 console=tty0 console=tty1 net.ifnames=0")
_NO_DASHBOARD = _arguments("talos.dashboard.disabled=1")
_NO_KEXEC = _arguments("sysctl.kernel.kexec_load_disabled=1")

_ALL = (
    Platform(
        METAL,
        _SMALL,
        (
            KernelArgument("console=ttyS0", before=(1, 8), arch="amd64"),
            KernelArgument("console=ttyAMA0", arch="arm64"),
            KernelArgument("console=tty0"),
        ),
    ),
    Platform("akamai", _SMALL, _LINODE),
    Platform("alibabacloud", _SMALL, _SERIAL_AND_SCREEN),
    Platform(
        "aws",
        _LARGE,
        (
            *_SERIAL_AND_SCREEN,
            KernelArgument("nvme_core.io_timeout=4294967295", since=(1, 14)),
        ),
    ),
    Platform(
        "azure",
        _LARGE,
        (
            *_arguments("console=ttyS0,115200n8 earlyprintk=ttyS0,115200 rootdelay=300"),
            *_NO_RENAMED_LINKS,
            *_NO_DASHBOARD,
            *_NO_KEXEC,
        ),
    ),
    Platform("cloudstack", _LARGE, _SERIAL_AND_SCREEN),
    Platform("digital-ocean", _LARGE, _LINODE),
    Platform(
        "equinixMetal",
        _SMALL,
        (
            KernelArgument("console=ttyS1,115200n8", arch="amd64"),
            KernelArgument("console=ttyAMA0,115200", arch="arm64"),
        ),
    ),
    Platform("exoscale", 10240 * MIB, _SERIAL_AND_SCREEN),
    Platform(
        "gcp",
        _LARGE,
        (*_arguments("console=ttyS0 net.ifnames=0"), *_NO_DASHBOARD, *_NO_KEXEC),
    ),
    Platform("hcloud", _SMALL, _SERIAL_AND_SCREEN),
    Platform("nocloud", _SMALL, _SERIAL_AND_SCREEN),
    Platform("opennebula", _SMALL, _SERIAL_AND_SCREEN),
    Platform("openstack", _SMALL, _SERIAL_AND_SCREEN),
    Platform("oracle", _LARGE, (*_SERIAL_AND_SCREEN, *_NO_DASHBOARD)),
    Platform("scaleway", _SMALL, (*_SERIAL_AND_SCREEN, *_NO_DASHBOARD)),
    Platform("upcloud", _LARGE, _NO_RENAMED_LINKS),
    Platform(
        "vmware",
        _LARGE,
        (
            *_arguments("talos.config=guestinfo console=tty0"),
            KernelArgument("console=ttyS0", arch="amd64"),
            KernelArgument("earlyprintk=ttyS0,115200", arch="amd64"),
            KernelArgument("console=ttyAMA0", arch="arm64"),
            *_NO_RENAMED_LINKS,
        ),
    ),
    Platform("vultr", _LARGE, _NO_RENAMED_LINKS),
)
PLATFORMS: Mapping[str, Platform] = {platform.name: platform for platform in _ALL}
