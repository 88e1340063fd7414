"""OVA: a tar of a virtual machine's description, the digests, and its disk.

Specification: DMTF DSP0243, Open Virtualization Format Specification 1.1.0, section 5.4. Members:
disk.ovf, disk.mf, disk.vmdk, in this order. The first two contain size and digest of the last, and
are written after it; their own sizes do not depend on it, so the place for them is known before.
"""

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import dataclass
from typing import IO

from imager.content.copier import write_error
from imager.content.extents import Content
from imager.content.tar import BLOCK, END
from imager.formats.ovf import DiskFile, VirtualMachine, ovf_document
from imager.formats.vmdk import check_vmdk, largest_vmdk, write_vmdk
from imager.support.reporter import Advance
from imager.support.units import MIB, align_up

_OVF, _MANIFEST, _DISK = "disk.ovf", "disk.mf", "disk.vmdk"
# Three headers and the manifest, besides the OVF.
_BLOCKS_BEFORE_DISK = 4


@dataclass(frozen=True, slots=True)
class Ova:
    """An OVA that can be written: `machine` with `disk`, all times `timestamp`.

    `room` is the length of the OVF in bytes. `largest` is the most bytes that the file can have;
    how many it has is known when the disk is compressed.
    """

    disk: Content
    machine: VirtualMachine
    timestamp: int
    room: int
    largest: int


def plan_ova(disk: Content, machine: VirtualMachine, *, timestamp: int) -> Ova:
    """Return the OVA of `machine` with `disk`; `timestamp` is in seconds since 1970, UTC.

    Raises InputError for a disk that is not a whole number of sectors, UnsupportedError for one
    that is too large.
    """
    check_vmdk(disk)
    size = largest_vmdk(disk)
    # Digits decide the length of the OVF: with the most that there can be, it has room for all.
    room = align_up(len(_ovf(machine, disk, size)), BLOCK)
    return Ova(disk, machine, timestamp, room, _disk_at(room) + size + len(END))


def write_ova(ova: Ova, target: int, *, jobs: int, progress: Advance) -> None:
    """Write `ova` to the empty file of descriptor `target`, which must be readable too.

    `jobs` threads compress; the bytes do not depend on their number. `progress` is called with the
    number of extent bytes read since the last call, and may raise to stop. Raises InputError when
    a source is shorter than planned, HostError when the target's disk is full, OutputError when
    reading or writing fails.
    """
    start = _disk_at(ova.room)
    try:
        with open(target, "r+b", closefd=False) as file:
            file.seek(start)
            size = write_vmdk(ova.disk, file, jobs=jobs, progress=progress)
            file.write(END)
            digest = _sha256(file, start, size)
            file.seek(0)
            # White space behind the document is allowed in XML.
            ovf = _ovf(ova.machine, ova.disk, size).ljust(ova.room)
            file.write(_front(ovf, digest, size, ova.timestamp))
    except OSError as error:
        raise write_error(error) from error


def _disk_at(room: int) -> int:
    """Return the byte of the archive at which the disk begins, behind an OVF of `room` bytes."""
    return room + _BLOCKS_BEFORE_DISK * BLOCK


def _ovf(machine: VirtualMachine, disk: Content, size: int) -> bytes:
    return ovf_document(machine, DiskFile(_DISK, size, disk.size))


def _sha256(file: IO[bytes], start: int, size: int) -> str:
    digest = hashlib.sha256()
    file.seek(start)
    while size and (piece := file.read(min(size, MIB))):
        digest.update(piece)
        size -= len(piece)
    return digest.hexdigest()


def _front(ovf: bytes, disk_digest: str, disk_size: int, timestamp: int) -> bytes:
    """Return the archive up to the first byte of the disk, for an `ovf` of whole blocks."""
    lines = ((_DISK, disk_digest), (_OVF, hashlib.sha256(ovf).hexdigest()))
    manifest = "".join(f"SHA256({name})= {digest}\n" for name, digest in lines).encode()
    return b"".join(
        (
            _header(_OVF, len(ovf), timestamp),
            ovf,
            _header(_MANIFEST, len(manifest), timestamp),
            manifest.ljust(align_up(len(manifest), BLOCK), b"\0"),
            _header(_DISK, disk_size, timestamp),
        )
    )


def _header(name: str, size: int, timestamp: int) -> bytes:
    """Return a member's header: in GNU's format it is one block, even for a disk over 8 GiB."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime = size, timestamp
    return info.tobuf(tarfile.GNU_FORMAT)
