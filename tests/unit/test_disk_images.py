"""qcow2 and VHD: what their specifications and qemu-img's own images have at each byte."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imager.content.extents import Codec, Content, Data, Extent, FileRange, StreamRange
from imager.content.reading import read_content
from imager.formats.qcow2 import plan_qcow2
from imager.formats.vhd import plan_vhd
from imager.support.errors import InputError, UnsupportedError
from imager.support.units import GIB, KIB, MIB
from tests.lib.tools.support import content_bytes
from tests.lib.volumes.disk_images import (
    Sources,
    SparseDisk,
    qcow2_clusters,
    read_qcow2,
    sparse_disks,
)

ID = UUID("01234567-89ab-cdef-0123-456789abcdef")
SOME_FILE = FileRange(Path("/some/file"))
SOME_STREAM = StreamRange(Path("/some/file.gz"), Codec.GZIP)


@pytest.fixture(scope="module", name="sources")
def source_files(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    return Sources.make(tmp_path_factory.mktemp("sources"))


def test_the_header_is_qemus() -> None:
    """Every field as `qemu-img convert -O qcow2 -o cluster_size=8k` writes it, places aside."""
    image = content_bytes(plan_qcow2(Content(64 * MIB), cluster_size=8 * KIB))
    assert image[:8] == b"QFI\xfb\0\0\0\x03"
    assert image[8:20] == bytes(12)  # no backing file
    assert struct.unpack_from(">IQII", image, 20) == (13, 64 * MIB, 0, 8)
    assert struct.unpack_from(">IIQQQQII", image, 56) == (1, 0, 0, 0, 0, 0, 4, 112)
    assert image[104:112] == bytes(8)  # compression type 0
    assert struct.unpack_from(">II", image, 112) == (0x6803F857, 0x180)
    names = [image[at : at + 48] for at in range(120, 120 + 0x180, 48)]
    assert [name[:2] for name in names] == [
        bytes(pair) for pair in ((0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0), (2, 0), (2, 1))
    ]
    assert names[3][2:].rstrip(b"\0") == b"compression type"
    assert image[504:512] == bytes(8)  # the end of the extensions


def test_tables_of_8k_clusters() -> None:
    """1024 entries in an L2 table, so that it stands for 8 MiB of the disk."""
    disk = Content(
        64 * MIB,
        (
            Extent(8 * MIB - 8 * KIB, 16 * KIB, SOME_FILE),
            Extent(40 * MIB + 5, 1, SOME_FILE),
        ),
    )
    image = plan_qcow2(disk, cluster_size=8 * KIB)
    metadata = content_bytes(Content(image.extents[-2].offset, image.extents[:-2]))
    places = qcow2_clusters(metadata)
    assert list(places) == [1023, 1024, 5120]
    # Header, refcount table, refcount block, L1, and three L2 tables come before the data.
    assert [place // (8 * KIB) for place in places.values()] == [7, 8, 9]
    assert image.size == 10 * 8 * KIB
    assert metadata[2 * 8 * KIB :][:22] == b"\0\1" * 10 + b"\0\0"  # reference counts


@given(st.data(), st.sampled_from([512, 4096, 65536, 2 * MIB]))
def test_every_disk_comes_back(sources: Sources, data: st.DataObject, cluster: int) -> None:
    disk = data.draw(sparse_disks(sources))
    image = read_content(plan_qcow2(disk.content, cluster_size=cluster))
    assert len(image) % cluster == 0
    assert read_qcow2(image) == disk.data
    assert_no_zero_clusters_from_memory(disk, image, cluster)


def test_tables_are_skipped(sources: Sources) -> None:
    """An L2 table of 512 bytes stands for 32 KiB; those of holes do not exist."""
    starts = [100 * KIB, 101 * KIB, 500 * KIB, 900 * KIB]
    disk = Content(MIB, tuple(sources.extent("memory", start, start // 9, 600) for start in starts))
    image = read_content(plan_qcow2(disk, cluster_size=512))
    assert read_qcow2(image) == content_bytes(disk)
    # Header, refcount table and block, L1, three tables, and data of two clusters each.
    assert len(image) == (1 + 1 + 1 + 1 + 3 + 4 * 2) * 512


def assert_no_zero_clusters_from_memory(disk: SparseDisk, image: bytes, cluster: int) -> None:
    """A cluster is allocated if it is not zero, or if a part of it is in a file."""
    allocated = set(qcow2_clusters(image))
    wanted = {
        number
        for number in range(-(-len(disk.data) // cluster))
        if any(disk.data[number * cluster : (number + 1) * cluster])
    }
    for extent in disk.content.extents:
        if not isinstance(extent.source, Data):
            wanted |= {*range(extent.offset // cluster, -(-extent.end // cluster))}
    assert allocated == wanted


def test_data_stay_what_they_are() -> None:
    """Files and streams are named, not read; clusters in a row are one extent."""
    disk = Content(
        GIB,
        (
            Extent(100 * KIB, 300 * MIB, SOME_FILE),
            Extent(600 * MIB + 1, 100 * MIB, SOME_STREAM),
        ),
    )
    image = plan_qcow2(disk)
    file, stream = image.extents[-2:]
    assert (file.length, file.source) == (300 * MIB, SOME_FILE)
    assert (stream.length, stream.source) == (100 * MIB, SOME_STREAM)
    assert file.offset % (64 * KIB) == 100 * KIB % (64 * KIB)  # at the same place in its cluster
    assert stream.offset % (64 * KIB) == 1
    assert stream.offset - 1 == file.end + (-file.end) % (64 * KIB)


def test_zeros_in_memory_are_not_allocated() -> None:
    data = bytes(200_000) + b"x" + bytes(400_000)
    disk = Content(GIB, (Extent(65536, len(data), Data(data)),))
    image = plan_qcow2(disk)
    assert list(qcow2_clusters(read_content(image))) == [1 + 200_000 // 65536]
    assert image.extents[-1].length == 65536


def test_a_large_disk_is_planned_at_once() -> None:
    """1.5 million clusters of 8 KiB, of which few are used: less than a second of CPU."""
    extents = [Extent(n * 100 * MIB, 5 * MIB + 7, SOME_FILE) for n in range(120)]
    extents += [Extent(12_200 * MIB + n * 20 * KIB, KIB, SOME_FILE) for n in range(1000)]
    before = time.process_time()
    image = plan_qcow2(Content(12 * GIB, tuple(extents)), cluster_size=8 * KIB)
    assert time.process_time() - before < 1
    assert len(image.extents) < len(extents) + 8


@pytest.mark.parametrize("size", [0, 256, 1000, 65535, 4 * MIB])
def test_other_cluster_sizes(size: int) -> None:
    with pytest.raises(InputError, match=f"cluster_size={size} is not a power of two") as failure:
        plan_qcow2(Content(GIB), cluster_size=size)
    assert "cluster_size=65536" in failure.value.hint


@pytest.mark.parametrize("size", [0, 1, MIB + 1])
def test_a_disk_of_part_sectors(size: int) -> None:
    for plan in (plan_qcow2, plan_fixed):
        with pytest.raises(InputError, match=f"a disk of {size} bytes is not a whole number"):
            plan(Content(size))


def test_a_disk_too_large_for_its_clusters() -> None:
    """QEMU opens an L1 table of at most 32 MiB: 128 GiB of clusters of 512 bytes."""
    plan_qcow2(Content(128 * GIB), cluster_size=512)
    with pytest.raises(UnsupportedError, match="too large for cluster_size=512"):
        plan_qcow2(Content(128 * GIB + 512), cluster_size=512)


def test_a_disk_with_too_much_data_for_its_clusters() -> None:
    """QEMU opens a refcount table of at most 8 MiB: 128 GiB of the file."""
    full = Content(128 * GIB, (Extent(0, 128 * GIB, SOME_FILE),))
    with pytest.raises(UnsupportedError, match="too large for cluster_size=512"):
        plan_qcow2(full, cluster_size=512)


def plan_fixed(disk: Content) -> Content:
    return plan_vhd(disk, created=1_700_000_000, uuid=ID)


def footer_of(image: Content) -> bytes:
    source = image.extents[-1].source
    assert isinstance(source, Data)
    return source.data


def test_the_footer_is_qemus() -> None:
    """Every field as `qemu-img convert -O vpc -o subformat=fixed,force_size` writes it."""
    size = 8192 * MIB
    image = plan_fixed(Content(size, (Extent(MIB, 5, SOME_FILE),)))
    assert image.size == size + 512
    assert image.extents[0] == Extent(MIB, 5, SOME_FILE)
    footer = footer_of(image)
    fields = struct.unpack(">8sIIQI4sHH4sQQHBBII16sB427s", footer)
    checksum = fields[15]
    assert fields == (
        *(b"conectix", 2, 0x10000, 0xFFFFFFFFFFFFFFFF, 1_700_000_000 - 946_684_800, b"qem2", 5, 3),
        *(b"Wi2k", size, size, 0xFFFF, 0x10, 0xFF, 2, checksum, ID.bytes, 0, bytes(427)),
    )
    without = footer[:64] + bytes(4) + footer[68:]
    assert checksum == 0xFFFFFFFF - sum(without)


def test_the_virtual_size_of_azure() -> None:
    """Azure wants whole MiB without the footer: a disk of whole MiB keeps its size."""
    for size in (2048 * MIB, 11_736_711_168):
        assert plan_fixed(Content(size)).size - 512 == size
        assert size % MIB == 0


def test_a_time_before_2000_is_the_earliest() -> None:
    image = plan_vhd(Content(MIB), created=315_532_800, uuid=ID)
    assert footer_of(image)[24:28] == bytes(4)


@pytest.mark.parametrize("force_size", [True, False])
def test_the_largest_vhd(force_size: bool) -> None:
    plan_vhd(Content(2040 * GIB), created=0, uuid=ID, force_size=force_size)
    with pytest.raises(UnsupportedError, match=r"VHD: a disk of .* is too large"):
        plan_vhd(Content(2040 * GIB + 512), created=0, uuid=ID, force_size=force_size)


def test_a_disk_without_force_size_grows_to_its_geometry() -> None:
    image = plan_vhd(Content(64 * MIB), created=0, uuid=ID, force_size=False)
    footer = footer_of(image)
    cylinders, heads, sectors = struct.unpack_from(">HBB", footer, 56)
    # What qemu-img 7.2 makes of 64 MiB.
    assert image.size - 512 == 67_125_248 == cylinders * heads * sectors * 512
    assert struct.unpack_from(">QQ", footer, 40) == (67_125_248, 67_125_248)
    assert footer[28:32] == b"qemu"
