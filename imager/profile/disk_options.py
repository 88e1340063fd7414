"""The options of disk formats, as qemu-img writes them: `cluster_size=8k`, `subformat=fixed`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from imager.talos.choices import DiskFormat

_DEFAULT_CLUSTER = 64 << 10
_CLUSTERS = range(9, 22)
_SUFFIXES = {"": 0, "k": 10, "m": 20}
_NUMBER = re.compile(r"(\d{1,8})([kmKM]?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class DiskOptions:
    """The options of a disk format.

    `cluster_size` is that of qcow2, in bytes. With `force_size`, readers of a VHD use its size
    rather than its cylinders, heads and sectors.
    """

    cluster_size: int = _DEFAULT_CLUSTER
    force_size: bool = False

    @classmethod
    def parse(cls, text: str, disk_format: DiskFormat) -> DiskOptions:
        """Parse the options of `disk_format`, separated by commas; raises ValueError."""
        known = _KNOWN.get(disk_format, ())
        found = dict(_split(text))
        if wrong := [name for name in found if name not in known]:
            names = f"known: {', '.join(known)}" if known else "it has no options"
            raise ValueError(f"{disk_format.value} has no option {', '.join(wrong)} ({names})")
        if found.get("subformat", "fixed") != "fixed":
            raise ValueError(f"subformat={found['subformat']}: only fixed is supported")
        return cls(_cluster_size(found), _switch(found, "force_size"))


_KNOWN: Mapping[DiskFormat, tuple[str, ...]] = {
    DiskFormat.QCOW2: ("cluster_size",),
    DiskFormat.VHD: ("subformat", "force_size"),
}


def _split(text: str) -> Iterator[tuple[str, str]]:
    for option in filter(None, text.split(",")):
        name, _, value = option.partition("=")
        yield name.strip(), value.strip()


def _cluster_size(found: Mapping[str, str]) -> int:
    text = found.get("cluster_size")
    if text is None:
        return _DEFAULT_CLUSTER
    if match := _NUMBER.fullmatch(text):
        size = int(match[1]) << _SUFFIXES[match[2].lower()]
        if size in {1 << bits for bits in _CLUSTERS}:
            return size
    raise ValueError(f"cluster_size={text} is not a power of two from 512 to 2M")


def _switch(found: Mapping[str, str], name: str) -> bool:
    value = found.get(name, "off")
    if value not in ("", "on", "off"):
        raise ValueError(f"{name}={value} is neither on nor off")
    return value != "off"
