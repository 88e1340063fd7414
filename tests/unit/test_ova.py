"""OVA and the stream-optimized VMDK in it: bytes, order, and the same for any number of threads."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imager.content.extents import Content, Data, Extent, FileRange
from imager.formats.ova import Ova, plan_ova, write_ova
from imager.formats.ovf import Property, VirtualMachine
from imager.formats.vmdk import largest_vmdk, write_vmdk
from imager.support.errors import InputError, OutputError, UnsupportedError
from imager.support.units import GIB, KIB, MIB
from tests.lib.volumes.disk_images import (
    Sources,
    read_vmdk,
    sparse_disks,
    vmdk_entries,
    vmdk_grains,
)

TIMESTAMP = 1_700_000_000
CONFIG = Property("talos.config", "Talos config data", "Inline Talos config")
TALOS = VirtualMachine("talos", (CONFIG,))
GRAIN = 64 * KIB
OVF = "{http://schemas.dmtf.org/ovf/envelope/1}"
RASD = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}"
VMW = "{http://www.vmware.com/schema/ovf}"


def ignore(_count: int) -> None:
    pass


@pytest.fixture(scope="module", name="sources")
def source_files(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    return Sources.make(tmp_path_factory.mktemp("sources"))


@pytest.fixture(name="target")
def target_file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def vmdk_of(disk: Content, *, jobs: int = 2) -> bytes:
    file = io.BytesIO()
    size = write_vmdk(disk, file, jobs=jobs, progress=ignore)
    assert size == len(file.getvalue())
    return file.getvalue()


def ova_bytes(ova: Ova, target: int, *, jobs: int = 2) -> bytes:
    os.ftruncate(target, 0)
    write_ova(ova, target, jobs=jobs, progress=ignore)
    return os.pread(target, 1 << 30, 0)


def members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {info.name: read_member(tar, info) for info in tar}


def read_member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(info)
    assert file is not None
    return file.read()


def test_the_header_of_a_vmdk() -> None:
    """The header that VMware's vmdk-convert writes for a disk of 64 MiB."""
    image = vmdk_of(Content(64 * MIB))
    assert struct.unpack_from("<4sIIQQQQIQQQ", image) == (
        *(b"KDMV", 3, 0x30001, 131_072, 128, 1, 20, 512, 0, 21),
        30,  # behind header, descriptor, directory, and two tables of 4 sectors
    )
    assert image[72:79] == b"\0\n \r\n\x01\0"  # clean, line ends, deflate
    assert not any(image[79:512])
    assert struct.unpack_from("<128I", image, 21 * 512) == (22, 26, *(0,) * 126)
    assert len(image) == 31 * 512  # no grains: the end of stream alone
    assert not any(image[22 * 512 :])


def test_the_descriptor() -> None:
    lines = vmdk_of(Content(11_736_711_168))[512 : 21 * 512].rstrip(b"\0").decode().split("\n")
    assert lines[0] == "# Disk DescriptorFile"
    for line in (
        "version=1",
        'encoding="UTF-8"',
        "parentCID=ffffffff",
        'createType="streamOptimized"',
        'RW 22923264 SPARSE "disk"',
        'ddb.virtualHWVersion = "4"',
        'ddb.geometry.cylinders = "1427"',
        'ddb.geometry.heads = "255"',
        'ddb.geometry.sectors = "63"',
        'ddb.adapterType = "lsilogic"',
        'ddb.toolsInstallType = "4"',
        'ddb.toolsVersion = "2147483647"',
    ):
        assert line in lines
    values = dict(line.replace(" ", "").split("=") for line in lines if "=" in line)
    assert values["ddb.longContentID"].strip('"')[-8:] == values["CID"]
    assert len(values["ddb.longContentID"]) == 2 + 32


def test_cylinders_have_a_limit() -> None:
    assert b'cylinders = "65535"' in vmdk_of(Content(600 * GIB))[: 21 * 512]


def test_the_content_id_is_that_of_the_data() -> None:
    def content_id(data: bytes, offset: int = 0) -> bytes:
        disk = Content(MIB, (Extent(offset, len(data), Data(data)),))
        return vmdk_of(disk)[512:1024].partition(b"CID=")[2][:8]

    ids = {content_id(b"a"), content_id(b"b"), content_id(b"a", 512), content_id(b"a", GRAIN)}
    assert len(ids) == 4
    assert content_id(b"a") in ids


@given(st.data())
def test_every_disk_comes_back(sources: Sources, data: st.DataObject) -> None:
    disk = data.draw(sparse_disks(sources, largest_gap=4 * MIB))
    image = vmdk_of(disk.content)
    assert read_vmdk(image) == disk.data
    assert len(image) <= largest_vmdk(disk.content)
    grains = list(vmdk_grains(image))
    assert {each.lba * 512 // GRAIN: each.sector for each in grains} == vmdk_entries(image)
    assert [each.lba for each in grains] == sorted(each.lba for each in grains)
    # What is zero is left out, wherever it comes from.
    assert {each.lba * 512 // GRAIN for each in grains} == {
        at // GRAIN for at in range(0, len(disk.data), GRAIN) if any(disk.data[at : at + GRAIN])
    }


def test_noise_is_stored_and_text_is_compressed(sources: Sources) -> None:
    noise = hashlib.shake_128(b"noise").digest(GRAIN)
    text = (b"all work and no play makes jack a dull boy\n" * 2000)[:GRAIN]
    # Only a quarter of it is compressible.
    mixed = noise[: GRAIN // 2] + bytes(GRAIN // 4) + noise[: GRAIN // 4]
    image = vmdk_of(Content.of_bytes(noise + text + mixed))
    stored, packed, half = (each.stream for each in vmdk_grains(image))
    # Two stored blocks, of at most 65535 bytes each.
    assert len(stored) == GRAIN + 2 + 2 * 5 + 4
    assert stored[:7] == b"\x78\x01\x00\xff\xff\x00\x00"
    assert len(packed) < GRAIN // 20
    assert len(half) < GRAIN * 4 // 5
    assert [zlib.decompress(each) for each in (stored, packed, half)] == [noise, text, mixed]


@given(st.data(), st.integers(2, 7))
def test_the_number_of_threads_changes_nothing(
    sources: Sources, data: st.DataObject, jobs: int
) -> None:
    disk = data.draw(sparse_disks(sources)).content
    assert vmdk_of(disk, jobs=1) == vmdk_of(disk, jobs=jobs)


def test_many_batches_keep_their_order(sources: Sources) -> None:
    """More batches than threads may hold at once, and one source behind the other."""
    disk = Content(
        64 * MIB,
        tuple(
            sources.extent(kind, n * 2 * MIB + 5, 0, len(sources.data))
            for n in range(30)
            for kind in [("file", "stream", "memory")[n // 10]]
        ),
    )
    image = vmdk_of(disk, jobs=3)
    expected = bytearray(64 * MIB)
    for n in range(30):
        start = n * 2 * MIB + 5
        expected[start : start + len(sources.data)] = sources.data
    assert read_vmdk(image) == bytes(expected)
    places = [each.lba for each in vmdk_grains(image)]
    assert places == sorted(places)


def test_a_vmdk_of_more_than_2_tib() -> None:
    whole = FileRange(Path("/some/file"))
    plan_ova(Content(2048 * GIB), TALOS, timestamp=TIMESTAMP)  # sparse
    full = Content(2040 * GIB, (Extent(0, 2040 * GIB, whole),))
    for disk in (Content(2048 * GIB + 512), full):
        with pytest.raises(UnsupportedError, match=r"VMDK: a disk of .* is too large"):
            plan_ova(disk, TALOS, timestamp=TIMESTAMP)
    with pytest.raises(InputError, match="a disk of 1000 bytes is not a whole number"):
        plan_ova(Content(1000), TALOS, timestamp=TIMESTAMP)


def test_members_in_order_with_headers_of_one_block(target: int) -> None:
    disk = Content(8 * MIB, (Extent(MIB, 5, Data(b"hello")),))
    archive = ova_bytes(plan_ova(disk, TALOS, timestamp=TIMESTAMP), target)
    found = members(archive)
    assert list(found) == ["disk.ovf", "disk.mf", "disk.vmdk"]
    assert found["disk.vmdk"] == vmdk_of(disk)
    assert archive.endswith(bytes(1024))
    assert len(archive) == 3 * 512 + len(found["disk.ovf"]) + 512 + len(found["disk.vmdk"]) + 1024
    assert archive[257:265] == b"ustar  \0"  # GNU's format
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for info in tar:
            assert (info.mode, info.uid, info.gid, info.mtime) == (0o644, 0, 0, TIMESTAMP)
    lines = [
        f"SHA256({name})= {hashlib.sha256(found[name]).hexdigest()}\n"
        for name in ("disk.vmdk", "disk.ovf")
    ]
    assert found["disk.mf"].decode() == "".join(lines)


def disk_of(grains: int) -> Content:
    data = Data(hashlib.shake_128(b"x").digest(GRAIN))
    return Content(256 * MIB, tuple(Extent(n * GRAIN, GRAIN, data) for n in range(grains)))


def written_size(ovf: bytes) -> int:
    file = ElementTree.fromstring(ovf).find(f".//{OVF}File")
    assert file is not None
    return int(file.attrib[f"{OVF}size"])


@pytest.mark.parametrize("grains", [0, 1, 20, 200])
def test_the_digits_of_the_size_move_nothing(target: int, grains: int) -> None:
    """The OVF is filled up with blanks to the room that was planned."""
    ova = plan_ova(disk_of(grains), TALOS, timestamp=TIMESTAMP)
    archive = ova_bytes(ova, target)
    found = members(archive)
    assert len(found["disk.ovf"]) == ova.room
    assert written_size(found["disk.ovf"]) == len(found["disk.vmdk"])
    assert len(archive) <= ova.largest


def test_the_ovf_has_room_for_every_size(target: int) -> None:
    """The name is in it three times: with each length the document ends elsewhere in its block."""
    disk = disk_of(1)
    for length in range(1, 512 // 3 + 2):
        ova = plan_ova(disk, VirtualMachine("t" * length), timestamp=TIMESTAMP)
        found = members(ova_bytes(ova, target))
        assert written_size(found["disk.ovf"]) == len(found["disk.vmdk"])


def test_progress_counts_the_data_and_can_stop(target: int, sources: Sources) -> None:
    disk = Content(
        9 * MIB, (sources.extent("file", 5, 0, MIB), sources.extent("stream", 3 * MIB, 0, MIB))
    )
    done: list[int] = []
    write_ova(plan_ova(disk, TALOS, timestamp=0), target, jobs=2, progress=done.append)
    assert sum(done) == disk.data_size

    def stop(_count: int) -> None:
        raise InputError("enough")

    with pytest.raises(InputError, match="enough"):
        write_ova(plan_ova(disk, TALOS, timestamp=0), target, jobs=2, progress=stop)


def test_a_target_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "target").touch()
    descriptor = os.open(tmp_path / "target", os.O_RDONLY)
    try:
        with pytest.raises(OutputError, match="copying failed"):
            write_ova(
                plan_ova(Content(MIB), TALOS, timestamp=0), descriptor, jobs=1, progress=ignore
            )
    finally:
        os.close(descriptor)


def ovf_of(machine: VirtualMachine, target: int, size: int = 64 * MIB) -> ElementTree.Element:
    ova = plan_ova(Content(size), machine, timestamp=0)
    return ElementTree.fromstring(members(ova_bytes(ova, target))["disk.ovf"])


def names(element: ElementTree.Element) -> list[str]:
    return [child.tag.partition("}")[2] for child in element]


def configs(hardware: ElementTree.Element, kind: str) -> dict[str, str]:
    return {
        each.attrib[f"{VMW}key"]: each.attrib[f"{VMW}value"]
        for each in hardware.findall(f"{VMW}{kind}")
    }


def test_the_ovf_has_the_elements_of_its_schema_in_order(target: int) -> None:
    """DSP8023: sections in this order; the fields of hardware are sorted by name (CIM)."""
    envelope = ovf_of(TALOS, target)
    assert envelope.tag == f"{OVF}Envelope"
    assert names(envelope) == ["References", "DiskSection", "NetworkSection", "VirtualSystem"]
    system = envelope[3]
    assert names(system) == [
        *("Info", "Name", "ProductSection", "OperatingSystemSection", "VirtualHardwareSection")
    ]
    for section in (*envelope[1:3], *system[2:]):
        assert names(section)[0] == "Info"
    hardware = system[4]
    order = list(dict.fromkeys(names(hardware)))
    assert order == ["Info", "System", "Item", "Config", "ExtraConfig"]
    for item in hardware.findall(f"{OVF}Item"):
        fields = [child.tag for child in item if child.tag.startswith(RASD)]
        assert fields == sorted(fields)
        assert fields == [child.tag for child in item][: len(fields)]  # others come behind
        assert {f"{RASD}{name}" for name in ("ElementName", "InstanceID", "ResourceType")} <= {
            *fields
        }


def test_the_machine_of_talos(target: int) -> None:
    """The values of Talos's template."""
    envelope = ovf_of(TALOS, target, 11_736_711_168)
    disk = envelope[1][1].attrib
    assert (disk[f"{OVF}capacity"], disk[f"{OVF}capacityAllocationUnits"]) == (
        *("11193", "byte * 2^20"),
    )
    assert disk[f"{OVF}format"].endswith("/specifications/vmdk.html#streamOptimized")
    assert (disk[f"{OVF}diskId"], disk[f"{OVF}fileRef"]) == ("vmdisk1", "file1")
    file = envelope[0][0].attrib
    assert (file[f"{OVF}href"], file[f"{OVF}id"]) == ("disk.vmdk", "file1")
    system = envelope[3]
    assert (system.get(f"{OVF}id"), system[1].text) == ("vm", "talos")
    assert system[2].get(f"{OVF}required") == "false"
    assert system[2][1].attrib == {
        f"{OVF}key": "talos.config",
        f"{OVF}type": "string",
        f"{OVF}userConfigurable": "true",
        f"{OVF}value": "",
    }
    assert system[3].attrib == {f"{OVF}id": "101", f"{VMW}osType": "other3xLinux64Guest"}
    assert system[4].attrib == {f"{OVF}transport": "com.vmware.guestInfo"}
    assert system[4][1][3].text == "vmx-15"
    items = system[4].findall(f"{OVF}Item")
    fields = [{child.tag.removeprefix(RASD): child.text for child in item} for item in items]
    assert [
        (each["InstanceID"], each["ResourceType"], each.get("ResourceSubType")) for each in fields
    ] == [
        ("1", "3", None),
        ("2", "4", None),
        ("3", "6", "VirtualSCSI"),
        ("4", "17", None),
        ("5", "10", "VmxNet3"),
        ("6", "24", None),
        ("7", "1", "vmware.vmci"),
    ]
    assert (fields[0]["VirtualQuantity"], fields[1]["VirtualQuantity"]) == ("2", "2048")
    assert (fields[3]["Parent"], fields[3]["HostResource"]) == ("3", "ovf:/disk/vmdisk1")
    assert (fields[4]["AddressOnParent"], fields[4]["Connection"]) == ("2", "VM Network")
    assert [item.get(f"{OVF}required") for item in items] == [None] * 5 + ["false"] * 2
    assert configs(items[4], "Config") == {
        "slotInfo.pciSlotNumber": "32",
        "wakeOnLanEnabled": "false",
        "connectable.allowGuestControl": "false",
    }
    assert configs(system[4], "Config") == {
        "tools.syncTimeWithHost": "false",
        "tools.afterPowerOn": "true",
        "tools.afterResume": "true",
        "tools.beforeGuestShutdown": "true",
        "tools.beforeGuestStandby": "true",
        "tools.toolsUpgradePolicy": "manual",
        "powerOpInfo.suspendType": "soft",
    }
    assert configs(system[4], "ExtraConfig") == {"nvram": "talos.nvram", "disk.EnableUUID": "true"}


def test_a_machine_that_boots_by_efi(target: int) -> None:
    hardware = ovf_of(VirtualMachine("talos", efi=True), target)[3][-1]
    assert configs(hardware, "Config")["firmware"] == "efi"


def test_a_disk_of_part_mebibytes_is_rounded_up(target: int) -> None:
    assert ovf_of(TALOS, target, MIB + 512)[1][1].get(f"{OVF}capacity") == "2"


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=40))
def test_texts_are_escaped(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    descriptor = os.open(tmp_path_factory.mktemp("ova") / "target", os.O_RDWR | os.O_CREAT)
    try:
        machine = VirtualMachine(text, (Property(text, text, text),))
        system = ovf_of(machine, descriptor)[3]
    finally:
        os.close(descriptor)
    assert system[1].text == text
    assert [child.text for child in system[2][1]] == [text, text]
    assert system[2][1].get(f"{OVF}key") == text
