"""The cache inside of an image: found where a machine finds it, in everything that is an image."""

from __future__ import annotations

import gzip
import lzma
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imager.cache.diff import diff_caches
from imager.cache.edit import keeping_options
from imager.cache.open import open_cache
from imager.cache.opened import CacheKind
from imager.cache.volumes import is_image
from imager.content.digests import run_checks
from imager.content.extents import Content, FileRange
from imager.content.tree import File, Tree
from imager.formats.ext4.plan import plan_ext4
from imager.formats.fat.plan import minimum_fat_size, plan_fat
from imager.formats.gpt.entries import LINUX_DATA, Partition
from imager.formats.gpt.table import plan_gpt
from imager.formats.iso9660.plan import plan_iso
from imager.support.arch import AMD64
from imager.support.errors import ImagerError, InputError, UnsupportedError
from imager.support.units import MIB
from tests.lib.caches.caches import CacheFixture, flip, make_flat, make_tar, tar_bytes
from tests.lib.tools.examples import edit_count
from tests.lib.tools.support import content_bytes, write_content
from tests.lib.volumes.foreign_volumes import edits, patch

TIME = 1_700_000_000
IDS = [UUID(int=number) for number in range(1, 9)]


@pytest.fixture(scope="module", name="cache")
def flat_cache(tmp_path_factory: pytest.TempPathFactory) -> CacheFixture:
    return make_flat(tmp_path_factory.mktemp("cache") / "flat", images=2, blob_size=5000)


@pytest.fixture(scope="module", name="other")
def other_cache(tmp_path_factory: pytest.TempPathFactory) -> CacheFixture:
    return make_flat(tmp_path_factory.mktemp("other") / "flat", images=1, blob_size=3000)


def iso(cache: CacheFixture, folder: str = "imagecache") -> Content:
    files = [File(f"{folder}/{p}", Content.of_bytes(d)) for p, d in cache.files.items()]
    return plan_iso(Tree.of(files), volume_id="TALOS", timestamp=TIME).content


def fat(cache: CacheFixture, *, upper: bool = False) -> Content:
    files = [
        File(
            f"imagecache/{path}".upper() if upper else f"imagecache/{path}", Content.of_bytes(data)
        )
        for path, data in cache.files.items()
    ]
    size = minimum_fat_size(Tree.of(files))
    return plan_fat(Tree.of(files), size=size, label="X", volume_id=1, timestamp=TIME).content


def ext4(cache: CacheFixture, scratch: Path) -> Content:
    files = [File(path, Content.of_bytes(data)) for path, data in cache.files.items()]
    return plan_ext4(
        Tree.of(files), size=16 * MIB, label="X", uuid=IDS[0], timestamp=TIME, scratch=scratch
    ).content


def disk(
    *parts: tuple[str, Content], sector_size: int = 512, at_start: Content | None = None
) -> Content:
    """Return a disk with a GPT of `parts`; `at_start` stands before them, with the table in it."""
    offset = MIB if at_start is None else -(-at_start.size // MIB) * MIB
    placed, entries = [], []
    for number, (label, content) in enumerate(parts):
        entries.append(Partition(label, LINUX_DATA, IDS[number], offset, content.size))
        placed.append((offset, content))
        offset += -(-content.size // MIB) * MIB
    size = offset + MIB
    gpt = plan_gpt(entries, disk_size=size, disk_guid=IDS[7], sector_size=sector_size)
    if at_start is not None:
        # As in a hybrid ISO, whose first 32 KiB are free.
        start = 32 << 10
        placed.append((start, at_start.slice(start, at_start.size - start)))
    return Content.compose(size, [(0, gpt.primary), *placed, (gpt.backup_offset, gpt.backup)])


def with_mbr(volume: Content) -> Content:
    """Return a disk with an MBR, whose second partition is `volume`."""
    entries = [(0x83, 2048, 8), (0x0C, 4096, volume.size // 512), (0x05, 1 << 20, 99)]
    table = b"".join(struct.pack("<4xB3xII", *entry) for entry in entries)
    mbr = (bytes(446) + table).ljust(510, b"\0") + b"\x55\xaa"
    placed = [(0, Content.of_bytes(mbr)), (2 * MIB, volume)]
    return Content.compose(2 * MIB + volume.size, placed)


IMAGES = ("iso", "hybrid", "disk", "disk-4k", "ext4", "fat", "stick", "mbr", "upper")


def make(kind: str, cache: CacheFixture, folder: Path) -> Path:
    match kind:
        case "iso":
            content = iso(cache)
        case "hybrid":
            content = disk(("EFI", Content(MIB)), at_start=iso(cache))
        case "disk" | "disk-4k":
            parts = (("META", Content(MIB)), ("IMAGECACHE", ext4(cache, folder)))
            content = disk(*parts, sector_size=512 if kind == "disk" else 4096)
        case "ext4":
            content = ext4(cache, folder)
        case "fat":
            content = fat(cache)
        case "stick":
            content = disk(("TALOS_1", fat(cache)))
        case "mbr":
            content = with_mbr(fat(cache))
        case _:
            content = fat(cache, upper=True)
    return write_content(content, folder / f"image-{kind}")


@pytest.mark.parametrize("kind", IMAGES)
def test_every_image_has_the_cache(cache: CacheFixture, tmp_path: Path, kind: str) -> None:
    path = make(kind, cache, tmp_path)
    opened = open_cache(path)
    assert opened.kind is CacheKind.IMAGE
    assert (opened.codec, opened.layer, opened.entries) == (None, None, None)
    found = opened.cache
    assert found.source == str(path)
    if kind == "upper":
        # All names but those of tags are in lower case, and a tag's case is not known.
        assert [str(each) for each in found.images] == [
            reference.replace(":v1", ":V1") for reference in cache.references
        ]
    else:
        files = {file.path: content_bytes(file.content) for file in found.files}
        assert files == cache.files
        assert list(files) == sorted(cache.files)
        assert diff_caches(found, open_cache(cache.folder).cache).same
    run_checks(found.checks)
    assert len(found.checks) == len(cache.blobs)
    assert found.ignored == 0


@pytest.mark.parametrize("kind", ["iso", "disk", "stick"])
def test_files_are_ranges_of_the_image(cache: CacheFixture, tmp_path: Path, kind: str) -> None:
    path = make(kind, cache, tmp_path)
    for file in open_cache(path, arch=AMD64).cache.blobs.values():
        (extent,) = file.content.extents
        assert isinstance(extent.source, FileRange)
        assert extent.source.path == path


@pytest.mark.parametrize("kind", IMAGES)
def test_a_damaged_blob_is_told(cache: CacheFixture, tmp_path: Path, kind: str) -> None:
    path = make(kind, cache, tmp_path)
    flip(path, path.read_bytes().index(cache.blobs[1].read_bytes()) + 2000)
    found = open_cache(path).cache
    with pytest.raises(InputError, match=f"{cache.blobs[1].name[7:]}.* does not match"):
        run_checks(found.checks)


@pytest.mark.parametrize("kind", IMAGES)
def test_a_damaged_manifest_is_told(cache: CacheFixture, tmp_path: Path, kind: str) -> None:
    path = make(kind, cache, tmp_path)
    manifest = next(cache.folder.glob("manifests/**/digest/*"))
    flip(path, path.read_bytes().index(manifest.read_bytes()) + 20)
    with pytest.raises(ImagerError):
        open_cache(path, arch=AMD64)


def test_a_link_and_a_relative_path(
    cache: CacheFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("iso", cache, tmp_path)
    (tmp_path / "link").symlink_to("image-iso")
    monkeypatch.chdir(tmp_path)
    found = open_cache(Path("link")).cache
    monkeypatch.chdir("/")
    assert {file.path: content_bytes(file.content) for file in found.files} == cache.files


def contents(path: Path) -> tuple[str, ...]:
    return tuple(str(each) for each in open_cache(path).cache.images)


def test_the_partition_comes_before_the_iso(
    cache: CacheFixture, other: CacheFixture, tmp_path: Path
) -> None:
    parts = (("EFI", fat(other)), ("IMAGECACHE", ext4(cache, tmp_path)))
    path = write_content(disk(*parts, at_start=iso(other)), tmp_path / "image")
    assert contents(path) == cache.references
    without = (("EFI", fat(other)), ("DATA", ext4(other, tmp_path)))
    path = write_content(disk(*without, at_start=iso(cache)), tmp_path / "image")
    assert contents(path) == cache.references
    path = write_content(disk(*without), tmp_path / "image")
    assert contents(path) == other.references


def test_a_partition_with_nothing_in_it_is_passed_by(cache: CacheFixture, tmp_path: Path) -> None:
    empty = plan_ext4(
        Tree.of([]), size=16 * MIB, label="X", uuid=IDS[0], timestamp=TIME, scratch=tmp_path
    ).content
    for content in (empty, Content(MIB)):
        parts = (("IMAGECACHE", content), ("TALOS_1", fat(cache)))
        path = write_content(disk(*parts), tmp_path / "image")
        assert contents(path) == cache.references


def test_an_iso_with_a_table_of_its_own_kind(cache: CacheFixture, tmp_path: Path) -> None:
    """xorriso's table is for a disk of another size, and has other numbers of entries."""
    path = make("hybrid", cache, tmp_path)
    patch(path, 512 + 80, struct.pack("<I", 248))
    assert contents(path) == cache.references


def test_a_disk_whose_table_is_damaged(cache: CacheFixture, tmp_path: Path) -> None:
    path = make("disk", cache, tmp_path)
    patch(path, 512 + 24, b"\xff")
    with pytest.raises(InputError, match="no valid GPT"):
        open_cache(path)


@pytest.mark.parametrize("kind", ["iso", "disk", "stick", "ext4", "fat"])
def test_cut_off_images(cache: CacheFixture, tmp_path: Path, kind: str) -> None:
    path = make(kind, cache, tmp_path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 4096)
    with pytest.raises(InputError, match=r"truncated|the table describes a disk of") as caught:
        open_cache(path)
    assert caught.value.hint


def images_without(cache: CacheFixture, folder: Path) -> Sequence[Content]:
    empty = plan_ext4(
        Tree.of([]), size=MIB * 16, label="X", uuid=IDS[0], timestamp=1, scratch=folder
    )
    return [
        iso(cache, folder="elsewhere"),
        disk(("EFI", Content(MIB))),
        disk(("DATA", ext4(cache, folder))),
        empty.content,
        with_mbr(Content(MIB)),
    ]


def test_images_without_a_cache(cache: CacheFixture, tmp_path: Path) -> None:
    for content in images_without(cache, tmp_path):
        path = write_content(content, tmp_path / "image")
        with pytest.raises(InputError, match="is an image without an image cache") as caught:
            open_cache(path)
        assert "--image-cache" in caught.value.hint


def test_partitions_that_are_not_on_the_disk(cache: CacheFixture, tmp_path: Path) -> None:
    path = make("mbr", cache, tmp_path)
    patch(path, 446 + 16 + 8, b"\xff" * 8)
    with pytest.raises(InputError, match="without an image cache"):
        open_cache(path)
    patch(path, 446 + 16 + 8, struct.pack("<II", 4096, 0xFFFFFFFF))
    with pytest.raises(InputError, match="the file ends before the end of the volume"):
        open_cache(path)


COMPRESSORS = {
    "gzip": lambda data: gzip.compress(data, 1, mtime=0),
    "zstd": lambda data: zstandard.compress(data, 1),
    "xz": lambda data: lzma.compress(data, preset=0),
}


@pytest.mark.parametrize("program", COMPRESSORS)
@pytest.mark.parametrize("kind", ["iso", "disk", "disk-4k", "ext4", "fat", "mbr"])
def test_compressed_images(cache: CacheFixture, tmp_path: Path, kind: str, program: str) -> None:
    path = make(kind, cache, tmp_path)
    image = path.read_bytes()
    path.write_bytes(COMPRESSORS[program](image))
    with pytest.raises(UnsupportedError, match="is a compressed image") as caught:
        open_cache(path)
    assert caught.value.hint == f"decompress it first: {program} -dc {path} > {path}.img"


@pytest.mark.parametrize("name", ["c.txz", "c.tar.xz", "C.TXZ"])
def test_a_tar_compressed_with_xz(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(lzma.compress(b"", preset=0))
    with pytest.raises(UnsupportedError, match=f"{name} is a tar compressed with xz") as caught:
        open_cache(path)
    command = f"xz -dc {path} > {tmp_path / name[0]}.tar"
    assert caught.value.hint == f"decompress it first: {command}"


@pytest.mark.parametrize(("program", "suffix"), [("gzip", ".gz"), ("zstd", ".zst"), ("xz", ".xz")])
def test_the_command_that_decompresses_works(
    cache: CacheFixture, tmp_path: Path, program: str, suffix: str
) -> None:
    image = make("iso", cache, tmp_path).read_bytes()
    for name in (f"it's $HOME{suffix}", "it's $HOME"):
        path = tmp_path / name
        path.write_bytes(COMPRESSORS[program](image))
        with pytest.raises(UnsupportedError) as caught:
            open_cache(path)
        subprocess.run(["bash", "-ec", caught.value.hint.partition(": ")[2]], check=True)
        made = tmp_path / "it's $HOME" if suffix in name else tmp_path / f"{name}.img"
        assert made.read_bytes() == image


@pytest.mark.parametrize("codec", [None, "gzip", "zstd"])
def test_a_tar_stays_a_tar(cache: CacheFixture, tmp_path: Path, codec: str | None) -> None:
    tar = make_tar(cache, tmp_path / "tar", codec=codec)
    assert not is_image(tar)
    assert open_cache(tar).kind is CacheKind.TAR


def test_a_tar_with_images_in_it_stays_a_tar(cache: CacheFixture, tmp_path: Path) -> None:
    """A member may have anything where an image has its marks."""
    volume = content_bytes(iso(cache))
    for before in (512, 1024, 4096, 32 << 10):
        marked = bytearray(volume[:40_000])
        marked[before - 512 : before - 504] = b"EFI PART"
        path = tmp_path / "tar"
        path.write_bytes(tar_bytes({"a": bytes(marked), **cache.files}))
        assert not is_image(path)
        assert contents(path) == cache.references


@pytest.mark.parametrize("data", [b"", b"x", bytes(512), bytes(100_000), b"\x55\xaa" * 50_000])
def test_what_is_neither(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(InputError):
        open_cache(path)


def test_a_file_that_cannot_be_read_is_a_wrong_input() -> None:
    """The first page of a process is not mapped: reading it fails, whoever asks."""
    with pytest.raises(InputError, match="cannot read /proc/self/mem"):
        open_cache(Path("/proc/self/mem"))


def test_an_image_is_not_changed_in_place(cache: CacheFixture, tmp_path: Path) -> None:
    opened = open_cache(make("iso", cache, tmp_path))
    with pytest.raises(
        UnsupportedError, match="is an ISO or disk image: only OCI layouts"
    ) as caught:
        keeping_options(opened, jobs=1)
    assert "rebuild the image" in caught.value.hint


def test_a_blob_in_pieces_is_checked_as_one(cache: CacheFixture, tmp_path: Path) -> None:
    """The second cluster of a blob moves to the end of the volume, as in a stick that was used."""
    path = make("fat", cache, tmp_path)
    data = bytearray(path.read_bytes())
    table, size = struct.unpack_from("<H", data, 14)[0] * 512, data[13] * 512
    start = table + 2 * struct.unpack_from("<I", data, 36)[0] * 512
    blob = cache.blobs[1]
    first = (data.index(blob.read_bytes()) - start) // size + 2
    last = (len(data) - start) // size + 1
    old, new = (start + (cluster - 2) * size for cluster in (first + 1, last))
    data[new : new + size] = data[old : old + size]
    data[old : old + size] = bytes(size)
    struct.pack_into("<I", data, table + 4 * first, last)
    struct.pack_into("<I", data, table + 4 * last, first + 2)
    path.write_bytes(data)
    found = open_cache(path).cache
    (check,) = (check for check in found.checks if check.source is None)
    assert blob.name[7:] in check.what
    assert len(check.content.extents) == 3
    run_checks(found.checks)
    flip(path, new + 5)
    with pytest.raises(InputError, match=f"{blob.name[7:]} of [a-z0-9:/.]+:v1 does not match"):
        run_checks(found.checks)


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", ["iso", "disk", "stick"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=edit_count(30))
@given(data=st.data())
def test_damage_is_told_or_harmless(
    cache: CacheFixture, tmp_path: Path, kind: str, data: st.DataObject
) -> None:
    """Heads of images, where it is decided what they are; readers have tests of their own."""
    path = tmp_path / f"image-{kind}"
    if not path.exists():
        make(kind, cache, tmp_path)
    with path.open("rb") as file:
        head = file.read(64 << 10)
    offsets = [offset for offset, byte in enumerate(head) if byte]
    changes = data.draw(edits(offsets))
    for offset, value in changes:
        patch(path, offset, value)
    try:
        open_cache(path, fail=lambda _: None)
    except ImagerError as error:
        assert error.message
    patch(path, 0, head)
