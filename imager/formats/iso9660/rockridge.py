"""Parse the system use fields of ISO 9660 directory records: Rock Ridge names and types.

System Use Sharing Protocol (SUSP, IEEE P1281 draft 1.12) and Rock Ridge Interchange Protocol
(RRIP, IEEE P1282 draft 1.12).
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass

from imager.formats.volume_reader import DamagedError, OpenedVolume
from imager.support.units import CD_SECTOR

# The same limit as in Linux.
_MOST_CONTINUATIONS = 32
_LARGEST_CONTINUATION = 64 << 10
_LONGEST_NAME = 255
_NAME_GOES_ON, _NAME_OF_SELF, _NAME_OF_ABOVE = 1, 2, 4
_PART_GOES_ON = 1
_SPECIAL_PARTS = {2: b".", 4: b"..", 8: b""}
_START = b"SP\x07\x01\xbe\xef"
_RRIP = (b"RRIP_1991A", b"IEEE_P1282", b"IEEE_1282")
# Minimum data sizes in bytes of the entries used here.
_LEAST = {b"CE": 24, b"NM": 1, b"PX": 8, b"CL": 8, b"ER": 4}


def both_endian(data: bytes, at: int) -> int:
    """Return the 32-bit number at `at`, stored in both byte orders (ECMA-119, 7.3.3)."""
    if data[at : at + 4] != data[at + 7 : at + 3 : -1]:
        raise DamagedError("the two byte orders of a number do not match")
    return int.from_bytes(data[at : at + 4], "little")


@dataclass(frozen=True, slots=True)
class RockRidgeEntry:
    """The Rock Ridge data of a record.

    `name` is empty if there is none. `child` is the sector of a folder that was moved because it
    was nested too deeply; at its new location it has `is_relocated`. `is_other` means neither file
    nor folder; `target` is that of a symbolic link.
    """

    name: str = ""
    child: int | None = None
    is_relocated: bool = False
    is_other: bool = False
    is_compressed: bool = False
    target: str = ""


@dataclass(frozen=True, slots=True)
class RockRidge:
    """A parser for the system use fields of a Rock Ridge volume; ignores the first `skip` bytes."""

    volume: OpenedVolume
    skip: int

    @classmethod
    def of(cls, volume: OpenedVolume, system_use: bytes) -> RockRidge | None:
        """Return the parser, based on the root's own field; None without Rock Ridge."""
        # CD-ROM XA puts 14 bytes before it.
        start = next((at for at in (0, 14) if system_use[at : at + 6] == _START), None)
        if start is None or len(system_use) < start + 7:
            return None
        found = cls(volume, system_use[start + 6])
        entries = list(cls(volume, start)._entries(system_use))
        return found if any(_tells_rock_ridge(*entry) for entry in entries) else None

    def read(self, system_use: bytes) -> RockRidgeEntry:
        """Parse a record's system use field; raises DamagedError."""
        name, goes_on, mode, child = b"", False, None, None
        signatures = set()
        links: list[bytes] = []
        for signature, data in self._entries(system_use):
            signatures.add(signature)
            match signature:
                case b"NM":
                    if data[0] & (_NAME_OF_SELF | _NAME_OF_ABOVE) or (name and not goes_on):
                        raise DamagedError("a Rock Ridge name is invalid")
                    name, goes_on = name + data[1:], bool(data[0] & _NAME_GOES_ON)
                case b"PX":
                    mode = both_endian(data, 0)
                case b"CL":
                    child = both_endian(data, 0)
                case b"SL":
                    links.append(data[1:])
        if goes_on or len(name) > _LONGEST_NAME:
            raise DamagedError("a Rock Ridge name is too long, or not terminated")
        is_link = b"SL" in signatures
        is_odd = mode is not None and stat.S_IFMT(mode) not in (stat.S_IFREG, stat.S_IFDIR)
        return RockRidgeEntry(
            name.decode("utf-8", "surrogateescape"),
            child,
            is_relocated=b"RE" in signatures,
            is_other=is_link or is_odd,
            is_compressed=b"ZF" in signatures,
            target=_target(b"".join(links)),
        )

    def _entries(self, system_use: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the signature and data of every entry, including continuation areas."""
        area: bytes | None = system_use[self.skip :]
        for _ in range(_MOST_CONTINUATIONS):
            following = None
            for signature, data in _split(area or b""):
                self.volume.count()
                if signature == b"CE":
                    following = data
                else:
                    yield signature, data
            if following is None:
                return
            area = self._continuation(following)
        raise DamagedError("a record has too many continuation areas")

    def _continuation(self, data: bytes) -> bytes:
        sector, offset, length = (both_endian(data, at) for at in (0, 8, 16))
        if length > _LARGEST_CONTINUATION:
            raise DamagedError("a continuation area is too large")
        return self.volume.read(sector * CD_SECTOR + offset, length)


def _target(components: bytes) -> str:
    """Return the target of a symbolic link: its parts, of which each has flags and a length."""
    parts: list[bytes] = []
    goes_on = False
    at = 0
    while at + 2 <= len(components):
        flags, length = components[at], components[at + 1]
        part = _SPECIAL_PARTS.get(flags & ~_PART_GOES_ON, components[at + 2 : at + 2 + length])
        if goes_on:
            parts[-1] += part
        else:
            parts.append(part)
        goes_on = bool(flags & _PART_GOES_ON)
        at += 2 + length
    return b"/".join(parts).decode("utf-8", "surrogateescape") or ("/" if parts else "")


def _split(area: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 4 <= len(area) and area[at]:
        length, signature = area[at + 2], area[at : at + 2]
        if length < 4 + _LEAST.get(signature, 0) or at + length > len(area):
            raise DamagedError("a system use entry is truncated")
        if signature == b"ST":
            return
        yield signature, area[at + 4 : at + length]
        at += length


def _tells_rock_ridge(signature: bytes, data: bytes) -> bool:
    if signature == b"ER":
        return data[4 : 4 + data[0]] in _RRIP
    return signature in (b"RR", b"PX")
