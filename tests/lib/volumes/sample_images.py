"""Small images of each kind that `imager inspect` reads, with something of everything in them."""

from __future__ import annotations

import lzma
from functools import partial
from pathlib import Path
from uuid import UUID

import zstandard

from imager.content.copier import write_content
from imager.content.extents import Content
from imager.content.tree import File, Tree
from imager.efi.uki import Section, plan_uki
from imager.formats.cpio import plan_cpio
from imager.formats.ext4.plan import plan_ext4
from imager.formats.fat.plan import plan_fat
from imager.formats.gpt.entries import ESP, LINUX_DATA, Partition
from imager.formats.gpt.table import plan_gpt
from imager.formats.iso9660.plan import plan_iso
from imager.formats.ova import plan_ova, write_ova
from imager.formats.ovf import VirtualMachine
from imager.formats.qcow2 import plan_qcow2
from imager.formats.vhd import plan_vhd
from imager.formats.xfs.plan import plan_xfs
from imager.support.units import MIB
from imager.talos.meta import meta_content
from tests.lib.caches.caches import CacheFixture
from tests.lib.keys.pe_stub import pe_stub
from tests.lib.tools.support import content_bytes

_TIME = 1_700_000_000
_IDS = [UUID(int=number) for number in range(1, 9)]
_EXTENSIONS = """
layers:
  - image: 0.sqsh
    metadata: {name: iscsi-tools, version: v0.2.0, author: Sidero, description: iSCSI}
"""
_GRUB = (
    b'set default="A - Talos v1.9.1"\nset timeout=3\nmenuentry "A - Talos v1.9.1" {\n'
    b"  linux /A/vmlinuz talos.platform=metal a=\\{b\\}\n  initrd /A/initramfs.xz\n}\n"
)
_OS_RELEASE = b'NAME="Talos"\nID=talos\nVERSION_ID=v1.9.1\nPRETTY_NAME="Talos (v1.9.1)"\n'


def _initramfs() -> bytes:
    main = content_bytes(plan_cpio(_tree({"init": b"init" * 9}), timestamp=_TIME).content)
    added = _tree({"extensions.yaml": _EXTENSIONS.encode(), "0.sqsh": bytes(5000)})
    last = content_bytes(plan_cpio(added, timestamp=_TIME).content)
    return lzma.compress(main, check=lzma.CHECK_CRC32) + zstandard.compress(last)


def _kernel() -> bytes:
    image = bytearray(pe_stub()) + bytes(4096)
    image[0x202:0x206], image[0x20E:0x210] = b"HdrS", (0x100).to_bytes(2, "little")
    image[0x300:0x310] = b"6.12.6-talos (x)"
    return bytes(image)


def _uki(folder: Path) -> Content:
    (folder / "stub.efi").write_bytes(pe_stub())
    sections = (
        (".osrel", _OS_RELEASE),
        (".cmdline", b"console=ttyS0"),
        (".linux", _kernel()),
        (".initrd", _initramfs()),
        (".profile", b"ID=main"),
        (".profile", b"ID=reset\nTITLE=Reset"),
        (".cmdline", b"console=ttyS0 wipe"),
    )
    return plan_uki(
        folder / "stub.efi", [Section(name, Content.of_bytes(data)) for name, data in sections]
    )


def _tree(files: dict[str, bytes]) -> Tree:
    return Tree.of(File(path, Content.of_bytes(data)) for path, data in files.items())


def _disk(folder: Path, cache: CacheFixture) -> Content:
    loader = Tree.of([File("EFI/Linux/talos.efi", _uki(folder))])
    boot = {"A/vmlinuz": _kernel(), "A/initramfs.xz": _initramfs(), "grub/grub.cfg": _GRUB}
    esp = plan_fat(loader, size=33 * MIB, label="EFI", volume_id=0x1234ABCD, timestamp=_TIME)
    xfs_of = partial(plan_xfs, uuid=_IDS[5], timestamp=_TIME, scratch=folder)
    ext4_of = partial(plan_ext4, uuid=_IDS[6], timestamp=_TIME, scratch=folder)
    xfs = xfs_of(_tree(boot), size=300 * MIB, label="BOOT")
    ext4 = ext4_of(_tree(cache.files), size=64 * MIB, label="IMAGECACHE")
    volumes = (
        ("EFI", ESP, esp.content),
        ("META", LINUX_DATA, meta_content({10: "value"})),
        ("BOOT", LINUX_DATA, xfs.content),
        ("IMAGECACHE", LINUX_DATA, ext4.content),
    )
    parts, placed, end = [], [], MIB
    for number, (label, kind, content) in enumerate(volumes):
        parts.append(Partition(label, kind, _IDS[number], end, content.size))
        placed.append((end, content))
        end += content.size
    size = end + MIB
    table = plan_gpt(parts, disk_guid=_IDS[7], disk_size=size)
    tables = ((0, table.primary), (table.backup_offset, table.backup))
    return Content.compose(size, [*tables, *placed])


def _iso(folder: Path, cache: CacheFixture) -> Content:
    files = {f"imagecache/{path}": data for path, data in cache.files.items()}
    return plan_iso(
        _tree({**files, "boot/grub/grub.cfg": _GRUB}), volume_id="TALOS_V1_9_1", timestamp=_TIME
    ).content


def sample_images(folder: Path, cache: CacheFixture) -> dict[str, Path]:
    """Write one image of each kind into `folder`; they are sparse."""
    raw = _disk(folder, cache)
    contents = {
        "disk": raw,
        "iso": _iso(folder, cache),
        "uki": _uki(folder),
        "initramfs": Content.of_bytes(_initramfs()),
    }
    paths = {name: _written(content, folder / name) for name, content in contents.items()}
    return paths | disk_formats(raw, folder)


def disk_formats(raw: Content, folder: Path) -> dict[str, Path]:
    """Write `raw` to `folder` as a file of each disk image format."""
    ova = folder / "ova"
    appliance = plan_ova(raw, VirtualMachine("talos", (), efi=True), timestamp=_TIME)
    with ova.open("wb+") as file:
        write_ova(appliance, file.fileno(), jobs=2, progress=lambda _: None)
    return {
        "qcow2": _written(plan_qcow2(raw), folder / "qcow2"),
        "vhd": _written(plan_vhd(raw, created=_TIME, uuid=_IDS[0]), folder / "vhd"),
        "ova": ova,
    }


def _written(content: Content, path: Path) -> Path:
    with path.open("wb") as file:
        write_content(content, file.fileno(), progress=lambda _: None)
    return path
