"""Inspecting images: what is found, and that no damage is an error or takes long."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import random
import time
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
import zstandard

from imager.app.diff import compare_images
from imager.app.files import FilesOf, list_files
from imager.app.inspect import inspect_image
from imager.app.verify import verify_image
from imager.cli.inspect_html import inspection_html
from imager.cli.inspect_svg import inspection_svg
from imager.cli.inspect_text import inspection_json, inspection_text
from imager.cli.tables import camel_case
from imager.content.copier import write_content
from imager.content.extents import Content
from imager.content.random_access import ContentReader
from imager.content.reading import Sources
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
from imager.formats.xz import xz_stream_end
from imager.image.inspect import model
from imager.image.inspect.model import Firmware, Inspection, SourceInfo
from imager.support.errors import ImagerError, InputError, UnsupportedError
from imager.support.units import MIB
from imager.talos.meta import meta_content
from tests.lib.caches.caches import CacheFixture, make_flat
from tests.lib.keys.pe_stub import pe_stub
from tests.lib.tools.examples import examples
from tests.lib.tools.support import content_bytes
from tests.lib.volumes.foreign_volumes import patch

TIME = 1_700_000_000
IDS = [UUID(int=number) for number in range(1, 9)]
EXTENSIONS = """
layers:
  - image: 0.sqsh
    metadata: {name: iscsi-tools, version: v0.2.0, author: Sidero, description: iSCSI}
"""
GRUB = (
    b'set default="A - Talos v1.9.1"\nset timeout=3\nmenuentry "A - Talos v1.9.1" {\n'
    b"  linux /A/vmlinuz talos.platform=metal a=\\{b\\}\n  initrd /A/initramfs.xz\n}\n"
)
OS_RELEASE = b'NAME="Talos"\nID=talos\nVERSION_ID=v1.9.1\nPRETTY_NAME="Talos (v1.9.1)"\n'


def initramfs() -> bytes:
    main = content_bytes(plan_cpio(tree({"init": b"init" * 9}), timestamp=TIME).content)
    added = tree({"extensions.yaml": EXTENSIONS.encode(), "0.sqsh": bytes(5000)})
    last = content_bytes(plan_cpio(added, timestamp=TIME).content)
    return lzma.compress(main, check=lzma.CHECK_CRC32) + zstandard.compress(last)


def kernel() -> bytes:
    image = bytearray(pe_stub()) + bytes(4096)
    image[0x202:0x206], image[0x20E:0x210] = b"HdrS", (0x100).to_bytes(2, "little")
    image[0x300:0x310] = b"6.12.6-talos (x)"
    return bytes(image)


def uki(folder: Path) -> Content:
    (folder / "stub.efi").write_bytes(pe_stub())
    sections = (
        (".osrel", OS_RELEASE),
        (".cmdline", b"console=ttyS0"),
        (".linux", kernel()),
        (".initrd", initramfs()),
        (".profile", b"ID=main"),
        (".profile", b"ID=reset\nTITLE=Reset"),
        (".cmdline", b"console=ttyS0 wipe"),
    )
    return plan_uki(
        folder / "stub.efi", [Section(name, Content.of_bytes(data)) for name, data in sections]
    )


def tree(files: dict[str, bytes]) -> Tree:
    return Tree.of(File(path, Content.of_bytes(data)) for path, data in files.items())


def disk(folder: Path, cache: CacheFixture) -> Content:
    loader = Tree.of([File("EFI/Linux/talos.efi", uki(folder))])
    boot = {"A/vmlinuz": kernel(), "A/initramfs.xz": initramfs(), "grub/grub.cfg": GRUB}
    esp = plan_fat(loader, size=33 * MIB, label="EFI", volume_id=0x1234ABCD, timestamp=TIME)
    xfs_of = partial(plan_xfs, uuid=IDS[5], timestamp=TIME, scratch=folder)
    ext4_of = partial(plan_ext4, uuid=IDS[6], timestamp=TIME, scratch=folder)
    xfs = xfs_of(tree(boot), size=300 * MIB, label="BOOT")
    ext4 = ext4_of(tree(cache.files), size=64 * MIB, label="IMAGECACHE")
    volumes = (
        ("EFI", ESP, esp.content),
        ("META", LINUX_DATA, meta_content({10: "value"})),
        ("BOOT", LINUX_DATA, xfs.content),
        ("IMAGECACHE", LINUX_DATA, ext4.content),
    )
    parts, placed, end = [], [], MIB
    for number, (label, kind, content) in enumerate(volumes):
        parts.append(Partition(label, kind, IDS[number], end, content.size))
        placed.append((end, content))
        end += content.size
    size = end + MIB
    table = plan_gpt(parts, disk_guid=IDS[7], disk_size=size)
    tables = ((0, table.primary), (table.backup_offset, table.backup))
    return Content.compose(size, [*tables, *placed])


def iso(folder: Path, cache: CacheFixture) -> Content:
    files = {f"imagecache/{path}": data for path, data in cache.files.items()}
    return plan_iso(
        tree({**files, "boot/grub/grub.cfg": GRUB}), volume_id="TALOS_V1_9_1", timestamp=TIME
    ).content


@pytest.fixture(scope="module", name="cache")
def flat_cache(tmp_path_factory: pytest.TempPathFactory) -> CacheFixture:
    return make_flat(tmp_path_factory.mktemp("cache") / "flat", images=2, blob_size=5000)


@pytest.fixture(scope="module", name="images")
def written_images(
    cache: CacheFixture, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Return one image of each kind, sparse where they have nothing."""
    folder = tmp_path_factory.mktemp("images")
    raw = disk(folder, cache)
    contents = {
        "disk": raw,
        "iso": iso(folder, cache),
        "uki": uki(folder),
        "initramfs": Content.of_bytes(initramfs()),
        "qcow2": plan_qcow2(raw),
        "vhd": plan_vhd(raw, created=TIME, uuid=IDS[0]),
    }
    paths = {}
    for name, content in contents.items():
        paths[name] = folder / name
        with paths[name].open("wb") as file:
            write_content(content, file.fileno(), progress=lambda _: None)
    paths["ova"] = folder / "ova"
    with paths["ova"].open("wb+") as file:
        appliance = plan_ova(raw, VirtualMachine("talos", (), efi=True), timestamp=TIME)
        write_ova(appliance, file.fileno(), jobs=2, progress=lambda _: None)
    return paths


def test_a_disk(images: dict[str, Path], cache: CacheFixture) -> None:
    found = inspect_image(str(images["disk"]))
    assert (found.kind, found.talos, found.findings, found.unknown) == ("disk", "v1.9.1", (), ())
    assert [(each.kind, each.label) for each in found.volumes] == [
        ("fat32", "EFI"),
        ("xfs", "BOOT"),
        ("ext4", "IMAGECACHE"),
    ]
    assert found.volumes[0].uuid == "1234-ABCD"
    assert [(each.key, each.value) for each in found.meta] == [(10, "value")]
    grub = next(each for each in found.boot if each.by == "GRUB")
    assert (grub.title, grub.is_default, grub.kernel) == ("A - Talos v1.9.1", True, "/A/vmlinuz")
    assert (grub.cmdline, grub.firmware) == ("talos.platform=metal a={b}", None)
    profiles = [each for each in found.boot if each.by == "systemd-boot"]
    assert [(each.title, each.cmdline, each.firmware) for each in profiles] == [
        ("Talos (v1.9.1)", "console=ttyS0", Firmware.UEFI),
        ("Reset", "console=ttyS0 wipe", Firmware.UEFI),
    ]
    assert {each.version for each in found.kernels} == {"6.12.6-talos"}
    for each in found.initramfs:
        assert each.archives == ("xz", "zstd")
        assert [(x.name, x.version, x.size) for x in each.extensions] == [
            ("iscsi-tools", "v0.2.0", 5000)
        ]
    assert found.cache is not None
    assert [each.name for each in found.cache.images] == sorted(map(str, cache.references))
    assert found.cache.size == sum(map(len, cache.files.values()))


def test_the_same_disk_in_other_formats(images: dict[str, Path], tmp_path: Path) -> None:
    raw = inspect_image(str(images["disk"]))
    for name, formats in (("qcow2", ["qcow2"]), ("vhd", ["vhd"]), ("ova", ["ova", "vmdk"])):
        found = inspect_image(str(images[name]))
        assert [*found.source.formats] == formats
        assert without_source(found) == without_source(raw)
    packed = tmp_path / "disk.qcow2.gz"
    packed.write_bytes(gzip.compress(images["qcow2"].read_bytes(), 1, mtime=0))
    found = inspect_image(str(packed))
    assert (found.source.formats, found.talos) == (("gzip", "qcow2"), "v1.9.1")


def without_source(found: Inspection) -> Inspection:
    return replace(found, source=SourceInfo("", None, ()))


def test_single_files(images: dict[str, Path]) -> None:
    found = inspect_image(str(images["uki"]))
    assert (found.kind, found.talos, len(found.ukis[0].profiles)) == ("uki", "v1.9.1", 2)
    found = inspect_image(str(images["initramfs"]))
    assert (found.kind, found.initramfs[0].archives) == ("initramfs", ("xz", "zstd"))
    found = inspect_image(str(images["iso"]))
    assert (found.kind, found.talos) == ("iso", "v1.9.1")
    assert found.cache is not None
    assert len(found.cache.images) == 2


@pytest.mark.parametrize("behind", [b"", b"\0" * 8, b"YZ" * 40, bytes(range(256)) * 9])
def test_the_end_of_an_xz_stream(behind: bytes) -> None:
    """Marks of an end in the data and behind it do not count."""
    looks_like_an_end = b"\0\0\0\0\0\0\0\0\0\1YZ" * 50
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0}]
    noise = random.Random("xz").randbytes(300_000)
    for data in (b"", noise, noise + looks_like_an_end + noise):
        stream = lzma.compress(data, check=lzma.CHECK_CRC32, filters=filters)
        content = Content.of_bytes(b"before" + stream + behind)
        with ContentReader(content) as reader:
            assert xz_stream_end(reader, 6) == 6 + len(stream)
            with pytest.raises(InputError, match="cut off"):
                xz_stream_end(ContentReader(content.slice(0, len(stream))), 6)


def test_what_is_damaged_is_said(images: dict[str, Path], tmp_path: Path) -> None:
    """And all else is found as before."""
    path = tmp_path / "disk"
    path.write_bytes(b"")
    with Sources() as sources, path.open("r+b") as file, images["disk"].open("rb") as whole:
        file.truncate(images["disk"].stat().st_size)
        for start, length in sources.data_ranges(images["disk"], 0, file.seek(0, os.SEEK_END)):
            os.pwrite(file.fileno(), os.pread(whole.fileno(), length, start), start)
    sound = inspect_image(str(path))
    assert without_source(sound) == without_source(inspect_image(str(images["disk"])))
    places_of = {each.label: each.offset for each in sound.partitions}
    for offset in (
        sound.size - 512 + 40,  # the backup table
        places_of["META"] + 100,  # the first copy
        places_of["IMAGECACHE"] + 1024 + 4,  # the superblock
    ):
        patch(path, offset, b"\xa5")
    found = inspect_image(str(path))
    places = {each.place: each.problem for each in found.findings}
    assert "checksum" in places["GPT"]
    assert "copy 1: it does not match its checksum" in places["META"]
    assert "partition 4 (IMAGECACHE)" in places
    assert [(each.key, each.value) for each in found.meta] == [(10, "value")]
    assert found.cache is None
    assert (found.talos, found.partitions) == (sound.talos, sound.partitions)


def test_the_reference_names_every_field() -> None:
    """Those of the result, and of all values in it."""
    page = (Path(__file__).parents[2] / "docs/reference/inspection.md").read_text("utf-8")
    classes = [each for each in vars(model).values() if is_dataclass(each)]
    names = {camel_case(field.name) for each in classes for field in fields(each)}
    assert len(names) > 60
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


def test_what_images_of_a_cache_share(tmp_path: Path) -> None:
    """Two names for one image share all of its blobs."""
    cache = make_flat(tmp_path / "flat", images=2, blob_size=5000)
    name = next(path for path in cache.files if path.endswith("img0/reference/v1"))
    (cache.folder / name).with_name("v2").write_bytes(cache.files[name])
    found = inspect_image(str(cache.folder))
    assert (found.kind, found.talos, found.findings) == ("image-cache", "", ())
    assert found.cache is not None
    tags = {each.name.rpartition("/")[2]: each for each in found.cache.images}
    assert set(tags) == {"img0:v1", "img0:v2", "img1:v1"}
    assert (tags["img0:v1"].own, tags["img0:v2"].own) == (0, 0)
    assert 0 < tags["img1:v1"].own <= tags["img1:v1"].size
    assert 0 < found.cache.shared < tags["img0:v1"].size


@pytest.mark.parametrize("data", [b"", b"plain text", b"MZ", b"QFI", bytes(100)])
def test_what_is_no_image_is_said(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    found = inspect_image(str(tmp_path / "file"))
    assert found.findings or found.unknown
    assert found.kind in ("unknown", "efi-binary")


def test_sources_that_cannot_be_opened(tmp_path: Path, images: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        inspect_image(str(tmp_path / "none"))
    with pytest.raises(InputError, match="not encrypted"):
        inspect_image("http://127.0.0.1:1/x.iso")
    backed = bytearray(images["qcow2"].read_bytes()[:65536])
    backed[8:16] = (512).to_bytes(8, "big")
    (tmp_path / "backed").write_bytes(backed)
    with pytest.raises(UnsupportedError, match="a backing file"):
        inspect_image(str(tmp_path / "backed"))


def test_text_and_pages_escape_what_images_say(images: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "<b>'&.iso"
    path.write_bytes(images["iso"].read_bytes())
    found = inspect_image(str(path))
    for page in (inspection_html(found), inspection_svg(found)):
        assert "<b>" not in page
        assert "&lt;b&gt;&#x27;&amp;.iso" in page
    assert json.loads(json.dumps(inspection_json(found)))["kind"] == "iso"


@pytest.mark.parametrize("name", ["disk", "iso", "uki", "initramfs", "qcow2", "vhd", "ova"])
def test_damage_is_neither_an_error_nor_slow(images: dict[str, Path], name: str) -> None:
    """Edits at random places that are not zero: 200 in a quick run.

    Of disk image formats only their own tables change: what is in them is the disk.
    """
    path = images[name]
    places = used_places(path)
    is_format = name in ("qcow2", "vhd", "ova")
    if is_format:
        end = path.stat().st_size
        places = [at for at in places if at < 0x60000 or at > end - 512]
    choice = random.Random(name)
    with path.open("r+b", buffering=0) as file:
        for number in range(examples(60 if is_format else 200)):
            edits = [
                (choice.choice(places), choice.randbytes(choice.choice((1, 2, 4))))
                for _ in range(choice.randint(1, 3))
            ]
            before = [os.pread(file.fileno(), 4, at) for at, _ in edits]
            for (at, data), old in zip(edits, before, strict=True):
                os.pwrite(file.fileno(), data[: len(old)], at)
            begun = time.monotonic()
            try:
                found = inspect_image(str(path))
            except ImagerError as error:
                assert error.message
            else:
                assert "".join(inspection_text(found))
                if found.findings:
                    assert inspection_html(found).encode()
            if number % 4 == 0:
                read_files(path)
            assert time.monotonic() - begun < 10
            for (at, _), old in reversed([*zip(edits, before, strict=True)]):
                os.pwrite(file.fileno(), old, at)


def read_files(path: Path) -> None:
    """Read all that can be read of a damaged image: no error but those of damage may come."""
    for read in (
        lambda: list_files(FilesOf(str(path)), recursive=True),
        lambda: verify_image(str(path)),
        lambda: compare_images(str(path), str(path), structure=True),
    ):
        with suppress(ImagerError):
            assert read() is not None


def used_places(path: Path) -> list[int]:
    """Return some bytes of a sparse file in pieces that are not zeros."""
    places = []
    with Sources() as sources:
        for start, length in sources.data_ranges(path, 0, path.stat().st_size):
            with path.open("rb") as file:
                file.seek(start)
                data = file.read(length)
            places += [
                start + at + step
                for at in range(0, length, 64)
                if any(data[at : at + 64])
                for step in range(0, min(64, length - at), 3)
            ]
    return places
