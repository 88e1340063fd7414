"""The ISO plan, read back with struct by ECMA-119, and its refusals."""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pycdlib.dates
import pycdlib.headervd
import pycdlib.pycdlib
import pytest

from imager.content.extents import Content, FileRange
from imager.content.tree import File, Tree, VolumePlan
from imager.formats.iso9660.identifiers import LONGEST_NAME, plan_tree
from imager.formats.iso9660.metadata import pinned_clock
from imager.formats.iso9660.plan import BootEntry, BootPlatform, IsoAlias, plan_iso
from imager.support.errors import InputError
from tests.lib.tools.support import content_bytes

# 2023-11-14T22:13:20Z: another day in half of the time zones.
TIMESTAMP = 1_700_000_000
DATE = b"2023111422132000\0"
SHORT_DATE = bytes([123, 11, 14, 22, 13, 20, 0])
BLOB = f"imagecache/blob/sha256-{hashlib.sha256(b'').hexdigest()}"


def file(path: str, data: bytes = b"data") -> File:
    return File(path, Content.of_bytes(data))


def plan(
    files: Sequence[File],
    *,
    boot: Sequence[BootEntry] = (),
    aliases: Sequence[IsoAlias] = (),
) -> VolumePlan:
    return plan_iso(
        Tree.of(files), volume_id="TALOS_V1_9_0", timestamp=TIMESTAMP, boot=boot, aliases=aliases
    )


def image(files: Sequence[File]) -> bytes:
    return content_bytes(plan(files).content)


def records(data: bytes) -> list[tuple[bytes, int, int]]:
    """Return (identifier, sector, length) of each record of a directory of one sector."""
    found = []
    while data[0]:
        found.append((data[33 : 33 + data[32]], *struct.unpack_from("<I4xI", data, 2)))
        data = data[data[0] :]
    return found


def test_primary_descriptor_says_what_ecma_119_wants() -> None:
    data = image([file("a")])
    pvd = data[32768 : 32768 + 2048]
    assert not any(data[:32768])
    assert pvd[:7] == b"\x01CD001\x01"
    assert pvd[8:40] == b"IMAGER".ljust(32)
    assert pvd[40:72] == b"TALOS_V1_9_0".ljust(32)
    sectors = len(data) // 2048
    assert len(data) % 2048 == 0
    assert struct.unpack_from("<I", pvd, 80) == struct.unpack_from(">I", pvd, 84) == (sectors,)
    for offset in (318, 446, 574):
        assert pvd[offset : offset + 128] == b"IMAGER".ljust(128)
    assert (pvd[813:830], pvd[830:847], pvd[864:881]) == (DATE, DATE, DATE)
    assert pvd[847:864] == b"0" * 16 + b"\0"


def test_every_record_has_the_given_time() -> None:
    data = image([file("a"), file("b/c")])
    root = struct.unpack_from("<I", data, 32768 + 158)[0] * 2048
    while data[root]:
        assert data[root + 18 : root + 25] == SHORT_DATE
        # TF (RRIP 1.12, section 4.1.6): modify, access and attributes, 7 bytes each.
        entry = data.index(b"TF", root, root + data[root])
        assert data[entry + 4] & 0x0E == 0x0E
        assert data[entry + 5 : entry + 26] == SHORT_DATE * 3
        root += data[root]


def test_data_stand_in_the_callers_order() -> None:
    names = ["z", "b/y", "empty", "a/a/a", "m"]
    files = [file(name, b"" if name == "empty" else name.encode() * 1500) for name in names]
    placed = plan(files).files
    data = image(files)
    assert [entry.path for entry in placed] == names
    assert [entry.offset for entry in placed] == sorted(entry.offset for entry in placed)
    for entry, source in zip(placed, files, strict=True):
        assert data[entry.offset : entry.offset + entry.length] == content_bytes(source.content)


def test_planning_reads_nothing() -> None:
    source = FileRange(Path("/nowhere/at/all"), 7)
    planned = plan([File("big", Content.of_source(source, 9 << 30))])
    last = planned.content.extents[-1]
    assert (last.source, last.length) == (source, 9 << 30)
    assert planned.content.data_size - last.length < 1 << 20


def test_an_image_without_files_is_its_metadata() -> None:
    data = image([])
    root = struct.unpack_from("<I", data, 32768 + 158)[0] * 2048
    assert [name for name, _, _ in records(data[root:])] == [b"\0", b"\1"]


def test_identifiers_are_the_names_where_they_can_be() -> None:
    data = image(
        [file("loader.conf"), file("x" * 77), file("x" * 78), file("a b"), file("Loader.conf")]
    )
    root = struct.unpack_from("<I", data, 32768 + 158)[0] * 2048
    names = [name.decode() for name, _, _ in records(data[root:])[2:]]
    assert len({name.lower() for name in names}) == 5
    assert {"loader.conf", "x" * 77} <= set(names)
    assert sum(name.startswith("~") for name in names) == 3
    assert names == sorted(names)


def test_path_tables_agree_with_the_directories() -> None:
    data = image([file(f"d{n}/e/f") for n in range(300)])
    size, little, big = struct.unpack_from("<I4xI4x", data, 32768 + 132) + struct.unpack_from(
        ">I", data, 32768 + 148
    )
    tables = []
    for order, sector in (("<", little), (">", big)):
        at, table = sector * 2048, []
        while at < sector * 2048 + size:
            length, extent, parent = struct.unpack_from(f"{order}BxIH", data, at)
            table.append((data[at + 8 : at + 8 + length], extent, parent))
            at += 8 + length + length % 2
        assert at == sector * 2048 + size
        tables.append(table)
    assert tables[0] == tables[1]
    assert len(tables[0]) == 601
    for number, (_, extent, parent) in enumerate(tables[0], start=1):
        dot, dotdot = records(data[extent * 2048 :])[:2]
        assert (dot[:2], dotdot[:2]) == ((b"\0", extent), (b"\1", tables[0][parent - 1][1]))
        assert parent <= number


def test_boot_entries_stand_in_the_catalog_in_order() -> None:
    files = [file("esp", b"e" * 5000), file("bios", b"b" * 3000)]
    planned = plan(
        files,
        boot=[
            BootEntry("bios", BootPlatform.BIOS, 4, boot_info_table=True),
            BootEntry("esp", BootPlatform.EFI, 10),
            BootEntry("esp", BootPlatform.BIOS, 1),
        ],
    )
    data = content_bytes(planned.content)
    sectors = {entry.path: entry.offset // 2048 for entry in planned.files}
    record = data[17 * 2048 : 18 * 2048]
    assert record[:39] == b"\0CD001\1" + b"EL TORITO SPECIFICATION".ljust(32, b"\0")
    at = struct.unpack_from("<I", record, 71)[0] * 2048
    catalog = [data[at + 32 * n : at + 32 * n + 32] for n in range(7)]
    assert sum(struct.unpack("<16H", catalog[0])) & 0xFFFF == 0
    assert (catalog[0][:2], catalog[0][30:]) == (b"\x01\x00", b"\x55\xaa")
    assert struct.unpack("<B7xI", catalog[1][:4] + catalog[1][4:12]) == (0x88, sectors["bios"])
    assert struct.unpack_from("<H", catalog[1], 6) == (4,)
    assert (catalog[2][:4], catalog[4][:4]) == (b"\x90\xef\x01\x00", b"\x91\x00\x01\x00")
    assert struct.unpack_from("<HI", catalog[3], 6) == (10, sectors["esp"])
    assert struct.unpack_from("<HI", catalog[5], 6) == (1, sectors["esp"])
    assert not any(catalog[6])


def test_boot_info_table_is_mkisofs_one() -> None:
    body = bytes(range(256)) * 11 + b"xyz"
    planned = plan(
        [file("bios", body)],
        boot=[BootEntry("bios", BootPlatform.BIOS, 4, boot_info_table=True)],
    )
    place = planned.files[0]
    stored = content_bytes(planned.content)[place.offset : place.offset + place.length]
    padded = body[64:] + bytes(-len(body) % 4)
    total = sum(struct.unpack(f"<{len(padded) // 4}I", padded)) % (1 << 32)
    table = struct.pack("<4I", 16, place.offset // 2048, len(body), total) + bytes(40)
    assert stored == body[:8] + table + body[64:]


def test_alias_is_a_record_and_no_data() -> None:
    inner = [file("esp", bytes(2048) + b"uki" + bytes(5000))]
    alone = plan(inner).content.size
    planned = plan(inner, aliases=[IsoAlias("x.efi", "esp", 2048, 3)])
    data = content_bytes(planned.content)
    root = struct.unpack_from("<I", data, 32768 + 158)[0] * 2048
    found = {name: (sector, length) for name, sector, length in records(data[root:])}
    assert found[b"x.efi"] == (planned.files[0].offset // 2048 + 1, 3)
    assert planned.content.size == alone


@pytest.mark.parametrize(
    "alias",
    [
        IsoAlias("x", "esp", 1, 3),
        IsoAlias("x", "esp", 2048, 2049),
        IsoAlias("x", "esp", -2048, 1),
        IsoAlias("x", "esp", 0, -1),
        IsoAlias("x", "other", 0, 0),
    ],
)
def test_alias_outside_of_its_target_is_refused(alias: IsoAlias) -> None:
    with pytest.raises(ValueError, match="target"):
        plan([file("esp", bytes(4096))], aliases=[alias])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (BootEntry("none", BootPlatform.EFI, 1), "no file"),
        (BootEntry("empty", BootPlatform.EFI, 1), "empty"),
        (BootEntry("esp", BootPlatform.EFI, 65536), "loaded"),
        (BootEntry("esp", BootPlatform.BIOS, -1), "loaded"),
        (BootEntry("esp", BootPlatform.BIOS, 1, boot_info_table=True), "64 bytes"),
    ],
)
def test_boot_entries_that_cannot_work_are_refused(entry: BootEntry, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan([file("esp"), file("empty", b"")], boot=[entry])


@pytest.mark.parametrize("path", ["a\udc80", "n" * 254, "ä" * 127])
def test_bad_names_are_refused(path: str) -> None:
    with pytest.raises(InputError, match="cannot be stored in an ISO"):
        plan([File(path, Content(0))])


def test_aliases_and_the_boot_catalog_count_as_paths() -> None:
    with pytest.raises(InputError, match="two files 'esp'"):
        plan([file("esp")], aliases=[IsoAlias("esp", "esp", 0, 1)])
    with pytest.raises(InputError, match=r"two files 'boot\.cat'"):
        plan([file("esp"), file("boot.cat")], boot=[BootEntry("esp", BootPlatform.EFI, 1)])


def test_more_than_an_iso_holds_is_refused() -> None:
    half = Content(4 << 40)
    with pytest.raises(InputError, match="8 TiB"):
        plan([File("a", half), File("b", half)])


def test_more_directories_than_a_path_table_counts_are_refused() -> None:
    folders = [str(number) for number in range(65535)]
    assert len(plan_tree(Tree.of(folders=folders[1:])).directories) == 65534
    with pytest.raises(InputError, match="65535 directories"):
        plan_tree(Tree.of(folders=folders))


def test_longest_name_counts_bytes() -> None:
    assert plan_tree(Tree.of([file("ä" * (LONGEST_NAME // 2) + "x")])).files


def _fail() -> None:
    raise RuntimeError("inside")


@pytest.mark.parametrize("body", [lambda: None, _fail])
def test_the_clock_is_given_back(body: Callable[[], None]) -> None:
    try:
        with pinned_clock(TIMESTAMP):
            assert pycdlib.pycdlib.time.time() == TIMESTAMP
            body()
    except RuntimeError:
        pass
    for module in (pycdlib.dates, pycdlib.headervd, pycdlib.pycdlib):
        assert module.time is time
