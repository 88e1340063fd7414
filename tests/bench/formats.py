"""The formats of disk images, held against the raw disk and against qemu-img."""

from __future__ import annotations

from pathlib import Path

from tests.bench.cases import RAW, WRITTEN_LIMIT, Builds, synced
from tests.bench.measure import Case

_RAW_DISK = "raw disk"
_QEMU = "qemu-img convert -O vmdk, streamOptimized; sync (one run)"
_VIEW_LIMIT, _APPLIANCE_LIMIT = 1.1, 0.5


def format_cases(builds: Builds) -> list[Case]:
    """Return the raw disk, and the formats that are views of it."""

    def case(name: str, profile: str, against: tuple[str, ...] = ()) -> Case:
        return Case(
            name,
            builds.build(profile, builds.cache.flat, *RAW),
            against=against,
            limit=_VIEW_LIMIT if against else None,
            build=True,
            written_limit=WRITTEN_LIMIT,
        )

    return [
        case(_RAW_DISK, "metal"),
        case("disk qcow2", "oracle", (_RAW_DISK,)),
        case("disk VHD", "azure", (_RAW_DISK,)),
    ]


def appliance_cases(builds: Builds, disk: Path) -> list[Case]:
    """Return the OVA, and what qemu-img makes of the raw disk, which has to be built first."""
    vmdk = builds.output / "disk.vmdk"
    convert = ("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized")
    return [
        Case(_QEMU, synced(vmdk, *convert, disk, vmdk)),
        Case(
            "OVA (one run)",
            builds.build("vmware", builds.cache.flat),
            against=(_QEMU,),
            plus=(_RAW_DISK,),
            limit=_APPLIANCE_LIMIT,
            build=True,
            written_limit=WRITTEN_LIMIT,
        ),
    ]
