"""Build GRUB's BIOS images from its parts, as grub-mkimage, grub-bios-setup and xorriso do.

An image ("core") consists of:

    [cdboot.img]  2048 bytes, only on a CD: El Torito loads it, and it loads the rest
    diskboot.img  512 bytes; its last 12 contain the rest's position and load address
    lzma_decompress.img, then LZMA of: kernel.img as loaded, all modules, the prefix

GRUB manual, "GRUB image files" (https://www.gnu.org/software/grub/manual/grub/html_node/Images.html);
the layouts are those of GRUB's include/grub/{kernel,offsets}.h and include/grub/i386/pc/boot.h.
The image contains all modules: GRUB reads only the menu from the medium.
"""

from __future__ import annotations

import lzma
import struct
from collections.abc import Iterator
from pathlib import Path

from imager.bootassets.errors import BootAssetError
from imager.bootassets.grub import (
    CD_CORE_START,
    DECOMPRESSOR,
    DISK_BOOT,
    DISK_CORE_START,
    HYBRID_BOOT,
    KERNEL,
    MODULE_LIST,
    MODULES,
    module_order,
)
from imager.content.elf import Elf, elf_bits
from imager.content.extents import Content
from imager.formats.gpt.table import BOOT_CODE_SIZE
from imager.support.errors import InputError
from imager.support.units import CD_SECTOR

_SECTOR = 512
_LARGEST_PART = 4 << 20
_LINK_ADDRESS = 0x9000
_MEMORY_END = 0x78000
_LARGEST_CORE = _MEMORY_END - _LINK_ADDRESS

# ELF's class, e_type and e_machine
_BITS, _EXECUTABLE, _I386 = 32, 2, 3

# include/grub/kernel.h: grub_module_info32 (magic, offset of the modules, size) and each module's
# header (type, size including this header).
_MODULE_INFO = struct.Struct("<4sII")
_MODULE_HEADER = struct.Struct("<II")
_MODULE_MAGIC = b"mimg"
_ELF_MODULE, _PREFIX = 0, 3
_ALIGNMENT = 4

# include/grub/offsets.h, GRUB_DECOMPRESSOR_I386_PC_*: compressed and uncompressed size, and the
# size of a Reed-Solomon code, which is not used here.
_DECOMPRESSOR_FIELDS = struct.Struct("<III")
_DECOMPRESSOR_AT = 8
# GRUB's decoder supports only these parameters of LZMA1; its dictionary is the whole output. Preset
# 9 would save 9 KB of 157, and take 70 ms longer: a sixth of a build with a small cache.
_LZMA = {"id": lzma.FILTER_LZMA1, "preset": 3, "lc": 3, "lp": 0, "pb": 2, "dict_size": 1 << 20}

# include/grub/i386/pc/boot.h: the block list of diskboot.img (first sector, count, segment),
# and boot.img's fields: the sector of the image, and a jump to the check of the drive number.
_BLOCK_LIST = struct.Struct("<QHH")
_BLOCK_LIST_AT = _SECTOR - _BLOCK_LIST.size
_FIRST_SEGMENT = 0x820
_KERNEL_SECTOR_AT = 0x5C
_DRIVE_CHECK_AT = 0x66
_NO_DRIVE_CHECK = b"\x90\x90"
# xorriso(1), --grub2-mbr and --grub2-boot-info.
_HYBRID_SECTOR_AT = 0x1B0
_CD_BLOCK_LIST_AT = CD_SECTOR + _BLOCK_LIST_AT


def disk_core(grub: Path, *, prefix: str, first_sector: int) -> bytes:
    """Return the image for a BIOS boot partition that begins at `first_sector` (of 512 bytes).

    `grub` is GRUB's folder i386-pc; `prefix` is the folder of grub.cfg, such as `(,gpt3)/grub` on
    the boot disk. The result is in whole sectors, under 1 MiB. Raises InputError for missing or
    invalid files of GRUB.
    """
    rest = _compressed_core(grub, prefix)
    return _core_start(grub, rest, first_sector=first_sector) + rest


def cd_core(grub: Path, *, prefix: str) -> bytes:
    """Return the El Torito boot image; it needs a load size of 4 and a boot info table.

    `prefix` is the folder of grub.cfg on the CD, such as `/boot/grub`. `with_hybrid_core` makes
    it bootable from a disk as well. Raises the same errors as `disk_core`.
    """
    rest = _compressed_core(grub, prefix)
    return _part(grub, CD_CORE_START, size=CD_SECTOR) + _core_start(grub, rest) + rest


def disk_boot_code(grub: Path, core_sector: int) -> bytes:
    """Return 440 bytes of MBR code that start the image at `core_sector` (of 512 bytes).

    As with grub-bios-setup for hard disks, if firmware passes a drive number that is not a hard
    disk's, the first hard disk is used.
    """
    code = bytearray(_part(grub, DISK_BOOT, size=_SECTOR))
    struct.pack_into("<Q", code, _KERNEL_SECTOR_AT, core_sector)
    code[_DRIVE_CHECK_AT : _DRIVE_CHECK_AT + 2] = _NO_DRIVE_CHECK
    return bytes(code[:BOOT_CODE_SIZE])


def hybrid_boot_code(grub: Path, image_sector: int) -> bytes:
    """Return 440 bytes of MBR code for an ISO whose `cd_core` begins at `image_sector`.

    Sectors are of 512 bytes. The ISO also needs `with_hybrid_core`.
    """
    code = bytearray(_part(grub, HYBRID_BOOT, size=_SECTOR))
    start = image_sector + CD_SECTOR // _SECTOR
    struct.pack_into("<Q", code, _HYBRID_SECTOR_AT, start)
    return bytes(code[:BOOT_CODE_SIZE])


def with_hybrid_core(iso: Content, image_sector: int) -> Content:
    """Return the ISO, patching `image_sector` (of 512 bytes) into the `cd_core` that begins there.

    When booted from a disk, GRUB has no boot info table to locate itself.
    """
    first = image_sector + CD_SECTOR // _SECTOR + 1
    place = image_sector * _SECTOR + _CD_BLOCK_LIST_AT
    patch = Content.of_bytes(struct.pack("<Q", first))
    end = place + patch.size
    return Content.concat([iso.slice(0, place), patch, iso.slice(end, iso.size - end)])


def _core_start(grub: Path, rest: bytes, *, first_sector: int | None = None) -> bytes:
    """Return diskboot.img for `rest`, which follows it, with its position if known."""
    start = bytearray(_part(grub, DISK_CORE_START, size=_SECTOR))
    first, _, segment = _BLOCK_LIST.unpack_from(start, _BLOCK_LIST_AT)
    if segment != _FIRST_SEGMENT:
        raise _unusable(grub / DISK_CORE_START, f"it loads to segment {segment:#x}")
    first = first if first_sector is None else first_sector + 1
    _BLOCK_LIST.pack_into(start, _BLOCK_LIST_AT, first, len(rest) // _SECTOR, segment)
    return bytes(start)


def _compressed_core(grub: Path, prefix: str) -> bytes:
    """Return the decompressor and the LZMA stream, padded to whole sectors."""
    payload = core_payload(grub, prefix=prefix)
    stream = lzma.compress(payload, format=lzma.FORMAT_RAW, filters=[_LZMA])
    code = bytearray(_part(grub, DECOMPRESSOR))
    if len(code) < _SECTOR:
        raise _unusable(grub / DECOMPRESSOR, f"it has {len(code)} bytes")
    _DECOMPRESSOR_FIELDS.pack_into(code, _DECOMPRESSOR_AT, len(stream), len(payload), 0)
    core = bytes(code) + stream
    if len(core) > _LARGEST_CORE:
        raise _unusable(grub, f"its image has {len(core)} bytes, more than {_LARGEST_CORE}")
    return core + bytes(-len(core) % _SECTOR)


def core_payload(grub: Path, *, prefix: str) -> bytes:
    """Return the uncompressed payload of the image: kernel, modules with headers, prefix."""
    name = prefix.encode("ascii") + b"\0"
    entries = [_module(_ELF_MODULE, data) for data in _modules(grub)]
    modules = b"".join([*entries, _module(_PREFIX, name)])
    info = _MODULE_INFO.pack(_MODULE_MAGIC, _MODULE_INFO.size, _MODULE_INFO.size + len(modules))
    return _kernel(grub) + info + modules


def _module(kind: int, data: bytes) -> bytes:
    padded = data + bytes(-len(data) % _ALIGNMENT)
    return _MODULE_HEADER.pack(kind, _MODULE_HEADER.size + len(padded)) + padded


def _modules(grub: Path) -> Iterator[bytes]:
    try:
        names = module_order(_part(grub, MODULE_LIST).decode("ascii"), MODULES)
    except ValueError as error:
        raise _unusable(grub / MODULE_LIST, str(error)) from error
    for name in names:
        data = _part(grub, f"{name}.mod")
        if elf_bits(data) != _BITS:
            raise _unusable(grub / f"{name}.mod", "it is not a 32-bit ELF file")
        yield data


def _kernel(grub: Path) -> bytes:
    """Return kernel.img as loaded in memory: the single segment of a static i386 ELF program."""
    data = _part(grub, KERNEL)
    try:
        elf = Elf.parse(data)
        if (elf.bits, elf.kind, elf.machine) != (_BITS, _EXECUTABLE, _I386):
            raise ValueError("it is not a program for i386")
        segments = [segment for segment in elf.segments if segment.is_loaded]
        if len(segments) != 1:
            raise ValueError(f"it has {len(segments)} segments, not one")
        (segment,) = segments
        if segment.address != _LINK_ADDRESS or not segment.size:
            raise ValueError(f"its segment of {segment.size} bytes is for {segment.address:#x}")
    except ValueError as error:
        raise _unusable(grub / KERNEL, str(error)) from error
    return elf.contents(segment)


def _part(grub: Path, name: str, *, size: int | None = None) -> bytes:
    """Return a file of GRUB; if `size` is given, the file must have that many bytes."""
    path = grub / name
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_PART + 1)
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error
    if len(data) > _LARGEST_PART or size not in (None, len(data)):
        raise _unusable(path, f"it has {len(data)} bytes, not {size or f'under {_LARGEST_PART}'}")
    return data


def _unusable(path: Path, reason: str) -> InputError:
    return BootAssetError(
        f"{path}: not usable as GRUB for BIOS: {reason}",
        hint="run `imager assets fetch` again, or use another GRUB's folder i386-pc",
    )
