"""qcow2, VHD and OVA judged by qemu-img, 7-Zip, libvmdk, virt-v2v, tar and sha256sum.

Each of them also objects to a damaged copy, or finds it different.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imager.content.copier import write_content
from imager.content.extents import Content, Data, Extent
from imager.formats.ova import plan_ova, write_ova
from imager.formats.ovf import Property, VirtualMachine
from imager.formats.qcow2 import plan_qcow2
from imager.formats.vhd import plan_vhd
from imager.support.units import KIB, MIB
from tests.lib.tools.examples import examples
from tests.lib.volumes.disk_images import Sources, sparse_disks, vmdk_entries

pytestmark = pytest.mark.oracle

SLOW = [HealthCheck.function_scoped_fixture]
ID = UUID("01234567-89ab-cdef-0123-456789abcdef")
TALOS = VirtualMachine("talos", (Property("talos.config", "Config", "Inline config"),), efi=True)
# Python's own modules may be others than the system's, which libvmdk is one of.
SYSTEM_PYTHON = "/usr/bin/python3"
READ_VMDK = """
import sys, pyvmdk
handle = pyvmdk.handle()
handle.open("disk.vmdk")
handle.open_extent_data_files()
size = handle.get_media_size()
for start in range(0, size, 1 << 20):
    sys.stdout.buffer.write(handle.read_buffer_at_offset(min(1 << 20, size - start), start))
"""


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, errors="replace"
    )


def output_of(*command: str | Path, cwd: Path | None = None) -> str:
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def write(content: Content, path: Path) -> Path:
    with path.open("wb+") as file:
        write_content(content, file.fileno(), progress=lambda _: None)
    return path


def write_appliance(disk: Content, path: Path, *, jobs: int = 2) -> Path:
    with path.open("wb+") as file:
        ova = plan_ova(disk, TALOS, timestamp=1_700_000_000)
        write_ova(ova, file.fileno(), jobs=jobs, progress=lambda _: None)
    return path


def unpacked(ova: Path, folder: Path) -> Path:
    """Unpack an OVA with GNU tar, and return the folder."""
    folder.mkdir()
    output_of("tar", "-xf", ova, "-C", folder)
    return folder


def same(image: Path, kind: str, raw: Path) -> bool:
    """Return whether qemu-img reads the bytes of `raw` out of `image`."""
    done = run("qemu-img", "compare", "-f", kind, "-F", "raw", image, raw)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode == 0


def info(image: Path, kind: str) -> dict[str, object]:
    found = json.loads(output_of("qemu-img", "info", "-f", kind, "--output=json", image))
    assert isinstance(found, dict)
    return found


def changed(path: Path, offset: int, data: bytes) -> Path:
    """Return a copy of `path` with `data` at byte `offset`."""
    copy = path.with_name(f"damaged-{path.name}")
    content = bytearray(path.read_bytes())
    assert content[offset : offset + len(data)] != data
    content[offset : offset + len(data)] = data
    copy.write_bytes(content)
    return copy


@pytest.fixture(scope="module", name="sources")
def source_files(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    return Sources.make(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module", name="disk")
def sample_disk(sources: Sources) -> Content:
    """16 MiB with data of all kinds, at its start and end too."""
    part = len(sources.data) // 2
    return Content(
        16 * MIB,
        (
            Extent(0, 512, Data(sources.data)),
            sources.extent("file", MIB, 0, part),
            sources.extent("stream", 3 * MIB + 77, 0, 2 * part),
            sources.extent("memory", 9 * MIB + 1, 0, 2 * part),
            sources.extent("file", 16 * MIB - part, part, part),
        ),
    )


@pytest.fixture(scope="module", name="raw")
def raw_disk(disk: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(disk, tmp_path_factory.mktemp("raw") / "disk.raw")


@pytest.fixture(scope="module", name="ova")
def sample_ova(disk: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_appliance(disk, tmp_path_factory.mktemp("ova") / "disk.ova")


@pytest.fixture(scope="module", name="members")
def ova_members(ova: Path) -> Path:
    return unpacked(ova, ova.parent / "members")


CLUSTERS = [512, 4 * KIB, 8 * KIB, 64 * KIB, 2 * MIB]


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_qemu_reads_a_qcow2(disk: Content, raw: Path, tmp_path: Path, cluster: int) -> None:
    image = write(plan_qcow2(disk, cluster_size=cluster), tmp_path / "disk.qcow2")
    checked = json.loads(output_of("qemu-img", "check", "--output=json", image))
    # Neither errors nor clusters that nothing refers to.
    assert not {"corruptions", "leaks"} & checked.keys()
    assert checked["image-end-offset"] == image.stat().st_size
    assert same(image, "qcow2", raw)
    found = info(image, "qcow2")
    assert (found["virtual-size"], found["cluster-size"]) == (disk.size, cluster)
    assert found["format-specific"] == {
        "type": "qcow2",
        "data": {
            "compat": "1.1",
            "compression-type": "zlib",
            "lazy-refcounts": False,
            "refcount-bits": 16,
            "corrupt": False,
            "extended-l2": False,
        },
    }


def test_a_qcow2_has_the_size_of_qemus(disk: Content, raw: Path, tmp_path: Path) -> None:
    """qemu-img leaves out zeros of files too, which this disk has: it may be smaller by those."""
    ours = write(plan_qcow2(disk, cluster_size=8 * KIB), tmp_path / "disk.qcow2")
    qemus = tmp_path / "qemu.qcow2"
    output_of("qemu-img", "convert", "-O", "qcow2", "-o", "cluster_size=8k", raw, qemus)
    ours_used, qemus_used = (
        json.loads(output_of("qemu-img", "check", "--output=json", image))["allocated-clusters"]
        for image in (ours, qemus)
    )
    assert qemus_used < ours_used
    again = tmp_path / "again.qcow2"
    output_of("qemu-img", "convert", "-O", "qcow2", "-o", "cluster_size=8k", ours, again)
    assert again.stat().st_size == qemus.stat().st_size


def test_the_header_of_qemus_qcow2(raw: Path, disk: Content, tmp_path: Path) -> None:
    """All of the header and its extensions but the places of tables."""
    qemus = tmp_path / "qemu.qcow2"
    output_of("qemu-img", "convert", "-O", "qcow2", "-o", "cluster_size=8k", raw, qemus)
    ours = write(plan_qcow2(disk, cluster_size=8 * KIB), tmp_path / "disk.qcow2")
    first, second = (bytearray(path.read_bytes()[: 8 * KIB]) for path in (ours, qemus))
    for header in (first, second):
        header[40:56] = bytes(16)  # L1 table, refcount table
    assert first == second


def test_qemu_objects_to_a_damaged_qcow2(disk: Content, raw: Path, tmp_path: Path) -> None:
    image = write(plan_qcow2(disk), tmp_path / "disk.qcow2")
    data = image.read_bytes()
    l1, blocks = (struct.unpack_from(">Q", data, at)[0] for at in (40, 65536))
    (l2,) = struct.unpack_from(">Q", data, l1)
    l2 &= ~(1 << 63)
    for offset, damage, report in (
        (l2, bytes(8), "leaks"),
        (blocks, b"\0\0", "corruptions"),
        (l2 + 3, b"\1", "corruptions"),
    ):
        copy = changed(image, offset, damage)
        done = run("qemu-img", "check", "--output=json", copy)
        assert done.returncode != 0
        assert report in json.loads(done.stdout)
    assert not same(changed(image, len(data) - 65536, b"damage"), "qcow2", raw)


@settings(suppress_health_check=SLOW, max_examples=examples(15))
@given(st.data(), st.sampled_from(CLUSTERS))
def test_qemu_reads_every_qcow2(
    sources: Sources, tmp_path: Path, data: st.DataObject, cluster: int
) -> None:
    disk = data.draw(sparse_disks(sources))
    image = write(plan_qcow2(disk.content, cluster_size=cluster), tmp_path / "disk.qcow2")
    (tmp_path / "raw").write_bytes(disk.data)
    output_of("qemu-img", "check", image)
    assert same(image, "qcow2", tmp_path / "raw")


def test_7zip_reads_qcow2_and_vhd(disk: Content, raw: Path, tmp_path: Path) -> None:
    expected = raw.read_bytes()
    for name, content in (
        ("disk.qcow2", plan_qcow2(disk, cluster_size=8 * KIB)),
        ("disk.vhd", plan_vhd(disk, created=0, uuid=ID)),
    ):
        image = write(content, tmp_path / name)
        done = subprocess.run(["7z", "x", "-so", image], capture_output=True, check=True)
        assert done.stdout == expected


def test_7zip_objects_to_damage(disk: Content, tmp_path: Path) -> None:
    qcow2 = write(plan_qcow2(disk, cluster_size=8 * KIB), tmp_path / "disk.qcow2")
    vhd = write(plan_vhd(disk, created=0, uuid=ID), tmp_path / "disk.vhd")
    for copy in (changed(qcow2, 40, b"\xff"), changed(vhd, disk.size + 60, b"\xff")):
        assert run("7z", "t", copy).returncode == 2


def test_qemu_reads_a_vhd(disk: Content, raw: Path, tmp_path: Path) -> None:
    image = write(plan_vhd(disk, created=1_700_000_000, uuid=ID), tmp_path / "disk.vhd")
    assert same(image, "vpc", raw)
    assert info(image, "vpc")["virtual-size"] == disk.size


def test_the_footer_of_qemus_vhd(disk: Content, raw: Path, tmp_path: Path) -> None:
    """All of it but time, UUID, and the checksum over them."""
    options = ["-O", "vpc", "-o", "subformat=fixed,force_size"]
    output_of("qemu-img", "convert", *options, raw, tmp_path / "qemu.vhd")
    ours = write(plan_vhd(disk, created=1_700_000_000, uuid=ID), tmp_path / "disk.vhd")
    first, second = (bytearray(path.read_bytes()) for path in (ours, tmp_path / "qemu.vhd"))
    assert len(first) == len(second) == disk.size + 512
    for image in (first, second):
        for start, end in ((24, 28), (64, 84)):
            image[disk.size + start : disk.size + end] = bytes(end - start)
    assert first == second


def test_qemu_objects_to_a_damaged_vhd(disk: Content, raw: Path, tmp_path: Path) -> None:
    image = write(plan_vhd(disk, created=1_700_000_000, uuid=ID), tmp_path / "disk.vhd")
    copy = changed(image, disk.size + 40, b"\1")
    assert "checksum" in run("qemu-img", "info", "-f", "vpc", copy).stderr
    copy = changed(image, disk.size, b"C")
    assert run("qemu-img", "info", "-f", "vpc", copy).returncode != 0
    assert not same(changed(image, MIB, b"damage"), "vpc", raw)


# The largest disks with 17, 31, 63 and 255 sectors per track; those with 17 have 4 to 16 heads.
TRACK_EDGES = [16 * 17 * 1023, 16 * 31 * 1023, 16 * 63 * 0xFFFE, 16 * 255 * 0xFFFF]
TRACK_EDGES += [4 * 17 * 1024, 15 * 17 * 1024, 16 * 17 * 1024, 16 * 31 * 1024, 16 * 63 * 0xFFFF]
NEAR_EDGES = [edge + distance for edge in TRACK_EDGES for distance in (-1, 0, 1)]


def vhd_is_qemus(sectors: int, folder: Path) -> bool:
    """Return whether qemu-img makes a disk of this size and geometry too."""
    qemus = folder / "qemu.vhd"
    options = ["-q", "-f", "vpc", "-o", "subformat=fixed"]
    output_of("qemu-img", "create", *options, qemus, str(sectors * 512))
    ours = plan_vhd(Content(sectors * 512), created=0, uuid=ID, force_size=False)
    footer = ours.extents[-1].source
    assert isinstance(footer, Data)
    with qemus.open("rb") as file:
        file.seek(-512, os.SEEK_END)
        theirs = file.read()
    return ours.size == qemus.stat().st_size and footer.data[28:64] == theirs[28:64]


@pytest.mark.parametrize("sectors", NEAR_EDGES)
def test_sizes_without_force_size_where_tracks_change(tmp_path: Path, sectors: int) -> None:
    assert vhd_is_qemus(sectors, tmp_path)


@settings(suppress_health_check=SLOW, max_examples=examples(40))
@given(st.one_of(st.integers(1, 1 << 19), st.integers(1, 0xFFFF * 16 * 255 + 1000)))
def test_sizes_without_force_size_are_qemus(tmp_path: Path, sectors: int) -> None:
    assert vhd_is_qemus(sectors, tmp_path)


def test_tar_and_sha256sum_read_an_ova(ova: Path, members: Path) -> None:
    assert output_of("tar", "-tf", ova).split() == ["disk.ovf", "disk.mf", "disk.vmdk"]
    listed = output_of("tar", "--utc", "--full-time", "-tvf", ova).splitlines()
    for line in listed:
        assert line.startswith("-rw-r--r-- 0/0 ")
        assert "2023-11-14 22:13:20" in line
    checked = output_of("sha256sum", "--strict", "-c", "disk.mf", cwd=members)
    assert checked == "disk.vmdk: OK\ndisk.ovf: OK\n"
    manifest = members / "disk.mf"
    damaged = manifest.read_text().replace("SHA256(disk.vmdk)= ", "SHA256(disk.ovf)= ")
    (members / "damaged.mf").write_text(damaged)
    assert run("sha256sum", "-c", "damaged.mf", cwd=members).returncode == 1


def test_qemu_reads_a_vmdk(members: Path, raw: Path, disk: Content) -> None:
    image = members / "disk.vmdk"
    assert same(image, "vmdk", raw)
    found = info(image, "vmdk")
    assert (found["virtual-size"], found["cluster-size"]) == (disk.size, 64 * KIB)
    specific = json.dumps(found["format-specific"])
    assert '"create-type": "streamOptimized"' in specific
    assert '"compressed": true' in specific


def libvmdk_reads(image: Path, folder: Path) -> bytes:
    """Return what libvmdk reads of an image, nothing if it objects.

    Its Python module looks for the file that the descriptor names, which is in itself.
    """
    folder.mkdir()
    for name in ("disk", "disk.vmdk"):
        (folder / name).hardlink_to(image)
    command = [SYSTEM_PYTHON, "-c", READ_VMDK]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    return b"" if done.returncode else done.stdout


def test_libvmdk_reads_a_vmdk(members: Path, raw: Path, tmp_path: Path) -> None:
    found = libvmdk_reads(members / "disk.vmdk", tmp_path / "copy")
    assert hashlib.sha256(found).digest() == hashlib.sha256(raw.read_bytes()).digest()


def test_readers_object_to_a_damaged_vmdk(members: Path, raw: Path, tmp_path: Path) -> None:
    image = members / "disk.vmdk"
    sectors = sorted(vmdk_entries(image.read_bytes()).values())
    # The last sector of a stored grain has its checksum.
    copy = changed(image, sectors[1] * 512 + 600, b"damage")
    done = run("qemu-img", "compare", "-f", "vmdk", "-F", "raw", copy, raw)
    assert done.returncode != 0
    copy = changed(image, 0, b"X")
    assert run("qemu-img", "info", "-f", "vmdk", copy).returncode != 0
    assert not libvmdk_reads(copy, tmp_path / "damaged")


@settings(suppress_health_check=SLOW, max_examples=examples(10))
@given(st.data())
def test_qemu_reads_every_ova(sources: Sources, tmp_path: Path, data: st.DataObject) -> None:
    disk = data.draw(sparse_disks(sources, largest_gap=4 * MIB))
    ova = write_appliance(disk.content, tmp_path / "disk.ova")
    folder = tmp_path / hashlib.sha256(ova.read_bytes()).hexdigest()
    if not folder.exists():
        unpacked(ova, folder)
    (tmp_path / "raw").write_bytes(disk.data)
    assert same(folder / "disk.vmdk", "vmdk", tmp_path / "raw")


@pytest.fixture(name="v2v")
def v2v_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sequence[str]]:
    """How virt-v2v prints what it reads: it converts nothing and starts nothing."""
    monkeypatch.setenv("LIBGUESTFS_BACKEND", "direct")
    monkeypatch.setenv("HOME", str(tmp_path))
    yield ("virt-v2v", "-o", "null", "--print-source", "-i", "ova")


def test_virt_v2v_reads_an_ova(ova: Path, v2v: Sequence[str]) -> None:
    lines = {line.strip() for line in output_of(*v2v, ova).splitlines()}
    assert {
        "source name: talos",
        "hypervisor type: vmware",
        "memory: 2147483648 (bytes)",
        "nr vCPUs: 2",
        "firmware: uefi",
        "0 [scsi]",
        'Bridge "VM Network" [vmxnet3]',
    } <= lines


def test_virt_v2v_objects_to_a_damaged_ova(
    members: Path, tmp_path: Path, v2v: Sequence[str]
) -> None:
    names = ["disk.ovf", "disk.mf", "disk.vmdk"]
    for name in names:
        (tmp_path / name).write_bytes((members / name).read_bytes())
    damaged = changed(tmp_path / "disk.vmdk", 100_000, b"damage")
    damaged.replace(tmp_path / "disk.vmdk")
    output_of("tar", "-cf", "damaged.ova", *names, cwd=tmp_path)
    done = run(*v2v, tmp_path / "damaged.ova")
    assert done.returncode != 0
    assert "does not match manifest" in done.stderr
