"""Reading ISOs: ours, damaged in every way, and with records that no tool writes."""

from __future__ import annotations

import stat
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imager.content.extents import Content
from imager.content.tree import File, Link, Tree
from imager.formats.iso9660.plan import plan_iso
from imager.formats.iso9660.read import is_iso9660, open_iso9660
from imager.support.errors import UnsupportedError
from imager.support.units import GIB
from tests.lib.tools.examples import edit_count
from tests.lib.tools.support import content_bytes, write_content
from tests.lib.volumes.foreign_volumes import (
    below,
    edited,
    edits,
    metadata_offsets,
    odd_tree,
    patch,
    read,
    refusal_of,
    small_tree,
    survives,
)

SECTOR = 2048


def planned(files: Mapping[str, bytes]) -> bytes:
    tree = [File(path, Content.of_bytes(data)) for path, data in files.items()]
    return content_bytes(plan_iso(Tree.of(tree), volume_id="X", timestamp=0).content)


@pytest.fixture(scope="module", name="image")
def small_image() -> bytes:
    return planned(small_tree())


@pytest.fixture(scope="module", name="offsets")
def metadata(image: bytes, tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    path = tmp_path_factory.mktemp("whole") / "x.iso"
    path.write_bytes(image)
    return metadata_offsets(image, open_iso9660(path).files)


def both(number: int) -> bytes:
    return struct.pack("<I", number) + struct.pack(">I", number)


def record(name: bytes, sector: int, size: int, *, flags: int = 0, use: bytes = b"") -> bytes:
    """Return a directory record by ECMA-119, section 9.1."""
    use = b"\0" * ((len(name) + 1) % 2) + use
    head = both(sector) + both(size) + bytes(7) + bytes([flags, 0, 0]) + b"\1\0\0\1"
    length = 33 + len(name) + len(use)
    return bytes([length, 0]) + head + bytes([len(name)]) + name + use


def entry(signature: bytes, data: bytes) -> bytes:
    """Return a system use entry."""
    return signature + bytes([len(data) + 4, 1]) + data


SP = b"SP\x07\x01\xbe\xef\0"
PX = entry(b"PX", both(stat.S_IFREG | 0o444) + both(1) * 3)
PX_FOLDER = entry(b"PX", both(stat.S_IFDIR | 0o555) + both(1) * 3)


def nm(name: bytes, flags: int = 0) -> bytes:
    return entry(b"NM", bytes([flags]) + name)


def ce(sector: int, offset: int, length: int) -> bytes:
    return entry(b"CE", both(sector) + both(offset) + both(length))


def drawn(root: bytes, more: Mapping[int, bytes] | None = None, *, use: bytes = SP + PX) -> bytes:
    """Return an ISO whose root, at sector 20, has `root` besides itself; `more` by sector."""
    start = record(b"\0", 20, SECTOR, flags=2, use=use) + record(b"\1", 20, SECTOR, flags=2)
    sectors = {
        16: b"\1CD001\1".ljust(80, b"\0")
        + both(32).ljust(48, b"\0")
        + struct.pack("<H", SECTOR).ljust(28, b"\0")
        + record(b"\0", 20, SECTOR, flags=2),
        17: b"\xffCD001\1",
        20: start + root,
        31: b"data",
        **(more or {}),
    }
    return b"".join(sectors.get(number, b"").ljust(SECTOR, b"\0") for number in range(32))


def names(path: Path, data: bytes, folder: str = "") -> list[str]:
    path.write_bytes(data)
    return list(read(open_iso9660(path), folder))


def refusal(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return refusal_of(open_iso9660, path).message


def test_what_was_planned_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "x.iso"
    path.write_bytes(planned(odd_tree()))
    assert read(open_iso9660(path)) == odd_tree()
    assert read(open_iso9660(path), "imagecache") == below(odd_tree(), "imagecache")
    assert is_iso9660(path.read_bytes()[: 34 << 10])
    assert not is_iso9660(bytes(34 << 10))
    assert not is_iso9660(b"")


def test_a_file_above_4_gib_is_one_range(tmp_path: Path) -> None:
    size = 9 * GIB + 12_345
    plan = plan_iso(Tree.of([File("imagecache/big", Content(size))]), volume_id="X", timestamp=0)
    path = write_content(plan.content, tmp_path / "x.iso")
    (file,) = open_iso9660(path, folder="imagecache").files
    (extent,) = file.content.extents
    assert (extent.offset, extent.length) == (0, size)


@pytest.mark.fuzz
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=edit_count(200))
@given(data=st.data())
def test_damage_is_told_or_harmless(
    image: bytes, offsets: list[int], tmp_path: Path, data: st.DataObject
) -> None:
    changes = data.draw(edits(offsets))
    survives(edited(image, changes, tmp_path / "x.iso"), open_iso9660)


def test_every_cut_is_noticed(image: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.iso"
    for size in range(0, len(image), 509):
        path.write_bytes(image[:size])
        assert not survives(path, open_iso9660)


def test_names_in_pieces_and_in_continuation_areas(tmp_path: Path) -> None:
    more = {21: bytes(100) + nm(b"cd", 1) + ce(22, 0, 30), 22: nm(b"ef") + bytes(23)}
    use = nm(b"ab", 1) + PX + ce(21, 100, 7 + 28)
    root = record(b"A;1", 31, 4, use=use)
    path = tmp_path / "x.iso"
    assert names(path, drawn(root, more)) == ["abcdef"]
    assert read(open_iso9660(path)) == {"abcdef": b"data"}


def test_what_another_system_has_in_the_system_use_is_skipped(tmp_path: Path) -> None:
    skipped = SP[:-1] + b"\x06"
    root = record(b"A;1", 31, 4, use=b"NM\xff\1\0\0" + nm(b"real") + PX)
    assert names(tmp_path / "x.iso", drawn(root, use=skipped + PX)) == ["real"]


def test_names_without_rock_ridge_are_as_linux_shows_them(tmp_path: Path) -> None:
    root = b"".join(
        record(name, 31, 4, use=nm(b"unread")) for name in (b"FILE.TXT;1", b"NONE.;1", b"PLAIN")
    )
    found = names(tmp_path / "x.iso", drawn(root, use=b""))
    assert found == ["file.txt", "none", "plain"]


def test_joliet_counts_where_there_is_no_rock_ridge(tmp_path: Path) -> None:
    joliet = bytearray(drawn(b"")[16 * SECTOR : 17 * SECTOR])
    joliet[0] = 2
    joliet[88:91] = b"%/E"
    joliet[156 : 156 + 34] = record(b"\0", 25, SECTOR, flags=2)
    folder = record(b"\0", 25, SECTOR, flags=2) + record("Größe;1".encode("utf-16-be"), 31, 4)
    more = {17: bytes(joliet), 18: b"\xffCD001\1", 25: folder}
    root = record(b"CUT;1", 31, 4, use=nm(b"whole") + PX)
    path = tmp_path / "x.iso"
    assert names(path, drawn(root, more, use=b"")) == ["Größe"]
    assert names(path, drawn(root, more)) == ["whole"]


def test_folders_that_were_too_deep_are_found_where_they_belong(tmp_path: Path) -> None:
    moved = record(b"\0", 22, SECTOR, flags=2, use=PX_FOLDER) + record(
        b"F;1", 31, 4, use=nm(b"f") + PX
    )
    # The folder of those that were moved, with the one that is not shown there.
    place = record(b"\0", 23, SECTOR, flags=2) + record(
        b"D", 22, SECTOR, flags=2, use=nm(b"d") + PX_FOLDER + entry(b"RE", b"")
    )
    root = record(b"DEEP", 31, 0, use=nm(b"deep") + PX + entry(b"CL", both(22)))
    root += record(b"RR_MOVED", 23, SECTOR, flags=2, use=nm(b"rr_moved") + PX_FOLDER)
    assert names(tmp_path / "x.iso", drawn(root, {22: moved, 23: place})) == ["deep/f"]
    wrong = record(b"DEEP", 31, 0, use=nm(b"deep") + PX + entry(b"CL", both(31)))
    assert "truncated" in refusal(tmp_path / "x.iso", drawn(wrong, {31: b"\x20"}))
    wrong = record(b"DEEP", 31, 0, use=nm(b"deep") + PX + entry(b"CL", both(24)))
    message = refusal(tmp_path / "x.iso", drawn(wrong, {24: moved}))
    assert "no folder at sector 24" in message


def test_files_in_several_sections(tmp_path: Path) -> None:
    def part(name: bytes, sector: int, size: int, flags: int = 0x80) -> bytes:
        return record(name, sector, size, flags=flags, use=nm(b"f") + PX)

    whole = part(b"F;1", 31, 2048) + part(b"F;1", 30, 2048) + part(b"F;1", 30, 5, 0)
    path = tmp_path / "x.iso"
    assert names(path, drawn(whole, {30: b"other"})) == ["f"]
    assert read(open_iso9660(path))["f"] == (
        b"data".ljust(2048, b"\0") + b"other".ljust(2048, b"\0") + b"other"
    )
    for wrong in (
        part(b"F;1", 31, 2048),
        part(b"F;1", 31, 2048) + part(b"G;1", 30, 5, 0),
        part(b"F;1", 31, 2048) + part(b"F;1", 30, 5, 2),
    ):
        assert "incomplete" in refusal(path, drawn(wrong))


def test_links_and_devices_are_told(tmp_path: Path) -> None:
    device = entry(b"PX", both(stat.S_IFCHR | 0o444) + both(1) * 3)
    root = record(b"A;1", 31, 0, use=nm(b"link") + entry(b"SL", b"\0\0\1a"))
    root += record(b"B;1", 31, 0, use=nm(b"device") + device)
    # An associated file, of another system, is not shown.
    root += record(b"C;1", 31, 4, flags=4, use=nm(b"fork") + PX)
    path = tmp_path / "x.iso"
    path.write_bytes(drawn(root))
    links = [Link("link", "a")]
    assert open_iso9660(path) == Tree.of(nodes=links, others=["device", "link"])


def test_compressed_files_are_not_supported(tmp_path: Path) -> None:
    path = tmp_path / "x.iso"
    zf = entry(b"ZF", b"pz\x04\x0f" + both(4))
    path.write_bytes(drawn(record(b"A;1", 31, 4, use=nm(b"a") + PX + zf)))
    with pytest.raises(UnsupportedError, match="zisofs") as caught:
        open_iso9660(path)
    assert caught.value.hint


def test_other_block_sizes_are_not_supported(image: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.iso"
    path.write_bytes(image)
    patch(path, 16 * SECTOR + 128, struct.pack("<H", 512))
    with pytest.raises(UnsupportedError, match="512 bytes"):
        open_iso9660(path)


FOLDER = record(b"D", 25, SECTOR, flags=2, use=nm(b"d") + PX_FOLDER)
HOSTILE: Mapping[str, tuple[bytes, Mapping[int, bytes], str]] = {
    "outside": (record(b"A;1", 32, 1, use=nm(b"a") + PX), {}, "outside of the volume"),
    "far outside": (record(b"A;1", 0xFFFFFFFF, 1, use=nm(b"a") + PX), {}, "outside of the volume"),
    "too large": (record(b"A;1", 0, 0xFFFFFFFF, use=nm(b"a") + PX), {}, "larger than the volume"),
    "slash": (record(b"A;1", 31, 1, use=nm(b"../a") + PX), {}, "is invalid"),
    "above": (record(b"A;1", 31, 1, use=nm(b"..") + PX), {}, "is invalid"),
    "flagged above": (record(b"A;1", 31, 1, use=nm(b"", 4) + PX), {}, "is invalid"),
    "nul": (record(b"A;1", 31, 1, use=nm(b"a\0b") + PX), {}, "is invalid"),
    "no name": (record(b"", 31, 1), {}, "is invalid"),
    "twice": (record(b"A;1", 31, 1, use=nm(b"a") + PX) * 2, {}, "twice"),
    "endless name": (record(b"A;1", 31, 1, use=nm(b"a", 1) + PX), {}, "not terminated"),
    "two names": (record(b"A;1", 31, 1, use=nm(b"a") + nm(b"b") + PX), {}, "is invalid"),
    "long name": (
        record(b"A;1", 31, 1, use=nm(b"a" * 100, 1) + ce(25, 0, 201)),
        {25: nm(b"b" * 100, 1) + nm(b"c" * 91)},
        "not terminated",
    ),
    "continuation loop": (
        record(b"A;1", 31, 1, use=ce(25, 0, 28)),
        {25: ce(25, 0, 28)},
        "too many continuation areas",
    ),
    "continuation outside": (record(b"A;1", 31, 1, use=ce(32, 0, 28)), {}, "outside of the volume"),
    "large continuation": (record(b"A;1", 31, 1, use=ce(0, 0, 65537)), {}, "too large"),
    "folder loop": (FOLDER, {25: record(b"U", 20, 2048, flags=2, use=nm(b"up"))}, "two places"),
    "own folder": (FOLDER, {25: record(b"D", 25, 99, flags=2, use=nm(b"d"))}, "two places"),
    "folder outside": (record(b"D", 32, 4096, flags=2, use=nm(b"d")), {}, "outside of the volume"),
    "parted folder": (
        record(b"D", 25, 2048, flags=0x82, use=nm(b"d")) + record(b"D", 25, 0, use=nm(b"d")),
        {},
        "several sections",
    ),
    "short record": (b"\x21" + bytes(40), {}, "truncated"),
    "name beyond the record": (
        record(b"A;1", 31, 1)[:32] + b"\xf0" + bytes(300),
        {},
        "truncated",
    ),
    "interleaved": (
        record(b"A;1", 31, 1)[:26] + b"\1\1" + record(b"A;1", 31, 1)[28:],
        {},
        "interleaved",
    ),
    "entry cut off": (record(b"A;1", 31, 1, use=b"NM\x40\1\0a"), {}, "truncated"),
    "short entry": (record(b"A;1", 31, 1, use=b"NM\4\1"), {}, "truncated"),
    "numbers differ": (
        record(b"A;1", 31, 1)[:6] + bytes(4) + record(b"A;1", 31, 1)[10:],
        {},
        "byte orders of a number",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_records(tmp_path: Path, case: str) -> None:
    root, more, message = HOSTILE[case]
    assert message in refusal(tmp_path / "x.iso", drawn(root, more))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.replace(b"\xffCD001", b"\xfeCD001"), "is not a volume descriptor"),
        (lambda data: data.replace(b"\1CD001", b"\3CD001"), "no primary"),
        (lambda data: data[: 17 * SECTOR] + data[16 * SECTOR : 17 * SECTOR] * 64, "not terminated"),
        (lambda data: data[:-1], "truncated"),
    ],
)
def test_descriptors_that_are_wrong(
    tmp_path: Path, change: Callable[[bytes], bytes], message: str
) -> None:
    assert message in refusal(tmp_path / "x.iso", change(drawn(b"")))


def test_a_zero_sized_file_may_be_anywhere(tmp_path: Path) -> None:
    root = record(b"A;1", 0xFFFF, 0, use=nm(b"a") + PX)
    assert names(tmp_path / "x.iso", drawn(root)) == ["a"]
