"""FAT32 planning and reading back; offsets and values are those of fatgen103."""

from __future__ import annotations

import random
import struct
from itertools import pairwise, product
from pathlib import Path

import pytest

from imager.content.extents import Content
from imager.content.tree import File, PlacedFile, Tree, VolumePlan
from imager.formats.fat.names import aliases, long_records
from imager.formats.fat.plan import minimum_fat_size, plan_fat
from imager.support.errors import InputError, OutputError
from imager.support.units import GIB, MIB
from tests.lib.tools.support import content_bytes, write_content
from tests.lib.volumes.fat_oracle import read_fat

EPOCH = 1_704_067_201  # 2024-01-01T00:00:01Z
SIZE = 34 * MIB


def small(path: str, data: bytes = b"data", *, mode: int = 0o644) -> File:
    return File(path, Content.of_bytes(data), mode)


def plan(
    *files: File, size: int = SIZE, label: str = "TALOS", sector_size: int = 512
) -> VolumePlan:
    return plan_fat(
        Tree.of(files),
        size=size,
        label=label,
        volume_id=0x1234ABCD,
        timestamp=EPOCH,
        sector_size=sector_size,
        hidden_sectors=2048,
    )


def field(image: bytes, offset: int, layout: str) -> int:
    (value,) = struct.unpack_from("<" + layout, image, offset)
    assert isinstance(value, int)
    return value


def data_start(image: bytes) -> int:
    sector = field(image, 11, "H")
    return sector * (field(image, 14, "H") + image[16] * field(image, 36, "L"))


def test_boot_sector_has_the_fields_of_the_specification() -> None:
    image = content_bytes(plan(small("A")).content)
    assert image[:3] == b"\xeb\x58\x90"
    assert image[510:512] == b"\x55\xaa"
    assert (field(image, 11, "H"), image[13]) == (512, 1)
    assert (image[16], image[21]) == (2, 0xF8)
    assert (field(image, 17, "H"), field(image, 19, "H"), field(image, 22, "H")) == (0, 0, 0)
    assert field(image, 24, "H") > 0
    assert field(image, 26, "H") > 0
    assert field(image, 28, "L") == 2048
    assert field(image, 32, "L") == SIZE // 512
    assert (field(image, 40, "H"), field(image, 42, "H")) == (0, 0)
    assert field(image, 44, "L") == 2
    assert (field(image, 48, "H"), field(image, 50, "H")) == (1, 6)
    assert (image[64], image[66]) == (0x80, 0x29)
    assert field(image, 67, "L") == 0x1234ABCD
    assert image[71:82] == b"TALOS      "
    assert image[82:90] == b"FAT32   "
    assert image[6 * 512 : 8 * 512] == image[: 2 * 512]


def test_fsinfo_counts_the_free_clusters() -> None:
    image = content_bytes(plan(small("A", bytes(700))).content)
    assert (image[512:516], image[996:1000]) == (b"RRaA", b"rrAa")
    assert image[1020:1024] == b"\0\0\x55\xaa"
    clusters = (SIZE - data_start(image)) // 512
    # The root, then three clusters left free to align the file of two clusters.
    assert field(image, 1000, "L") == clusters - 3
    assert field(image, 1004, "L") == 8


def test_both_tables_are_the_same_clean_and_chained() -> None:
    image = content_bytes(plan(small("A", bytes(700))).content)
    first = field(image, 14, "H") * 512
    length = field(image, 36, "L") * 512
    assert image[first : first + length] == image[first + length : first + 2 * length]
    entries = struct.unpack_from("<10L", image, first)
    last = 0x0FFFFFFF
    assert entries == (0x0FFFFFF8, last, last, 0, 0, 0, 7, last, 0, 0)


def test_root_has_label_then_records() -> None:
    image = content_bytes(plan(small("A.TXT", mode=0o444)).content)
    root = data_start(image)
    assert image[root : root + 12] == b"TALOS      \x08"
    record = image[root + 32 : root + 64]
    assert record[:12] == b"A       TXT\x21"
    date = (2024 - 1980) << 9 | 1 << 5 | 1
    assert struct.unpack_from("<BHHHHHHHL", record, 13) == (0, 0, date, date, 0, 0, date, 6, 4)
    assert image[root + 64 : root + 512] == bytes(448)


def test_folders_point_at_themselves_and_above() -> None:
    image = content_bytes(plan(small("EFI/BOOT/A")).content)
    start = data_start(image)
    for cluster, above in ((3, 0), (4, 3)):
        at = start + (cluster - 2) * 512
        assert image[at : at + 12] == b".          \x10"
        assert field(image, at + 26, "H") == cluster
        assert image[at + 32 : at + 44] == b"..         \x10"
        assert field(image, at + 32 + 26, "H") == above


@pytest.mark.parametrize(
    ("size", "sector_size"),
    [(34 * MIB, 512), *product((257 * MIB, 1101 * MIB, 2101 * MIB), (512, 4096))],
)
def test_files_are_aligned_and_data_starts_at_4096(size: int, sector_size: int) -> None:
    files = [small(f"file {number}", bytes(range(number % 7 + 1))) for number in range(30)]
    result = plan(*files, size=size, sector_size=sector_size)
    head = content_bytes(result.content.slice(0, MIB))
    assert data_start(head) % 4096 == 0
    assert [place.path for place in result.files] == [file.path for file in files]
    assert all(place.offset % 2048 == 0 for place in result.files)
    for place, file in zip(result.files, files, strict=True):
        found = content_bytes(result.content.slice(place.offset, place.length))
        assert found == content_bytes(file.content)


@pytest.mark.parametrize(
    ("size", "cluster"),
    [
        (34 * MIB, 512),
        (100 * MIB, 1024),
        (1101 * MIB, 4096),
        (8 * GIB, 4096),
        (9 * GIB, 8192),
        (17 * GIB, 16384),
        (33 * GIB, 32768),
    ],
)
def test_cluster_size_grows_with_the_volume(size: int, cluster: int) -> None:
    head = content_bytes(plan(size=size).content.slice(0, 512))
    assert head[13] * 512 == cluster
    clusters = (size - data_start(head)) // cluster
    assert clusters >= 65_536
    assert field(head, 36, "L") * 512 >= (clusters + 2) * 4


def test_files_stay_where_they_lie_and_holes_stay_holes() -> None:
    file = File("big", Content(20 * MIB))
    result = plan(file)
    assert result.content.data_size < MIB
    assert result.files[0].length == 20 * MIB


def test_empty_file_has_no_cluster() -> None:
    result = plan(small("EMPTY", b""))
    assert result.files == (PlacedFile("EMPTY", 0, 0),)
    image = content_bytes(result.content)
    record = data_start(image) + 32
    assert (field(image, record + 20, "H"), field(image, record + 26, "H")) == (0, 0)
    assert field(image, record + 28, "L") == 0


def test_data_stand_in_the_callers_order_and_records_do_not() -> None:
    files = [small(f"d{number % 3}/a long name {number}", b"%d" % number) for number in range(40)]
    shuffled = random.Random(1).sample(files, len(files))
    result = plan(*shuffled)
    assert [place.path for place in result.files] == [file.path for file in shuffled]
    assert [place.offset for place in result.files] == sorted(p.offset for p in result.files)
    image, other = content_bytes(result.content), content_bytes(plan(*files).content)
    # One cluster of the root, and three of each folder.
    names = [
        [data[at : at + 11] for at in range(data_start(data), data_start(data) + 10 * 512, 32)]
        for data in (image, other)
    ]
    assert names[0] == names[1]


@pytest.mark.parametrize("sector_size", [512, 4096])
@pytest.mark.parametrize(
    "files",
    [
        [],
        [small("a")],
        [File(f"f{number}", Content(1)) for number in range(20_000)],
        [File("big", Content(333 * MIB + 1))],
    ],
    ids=["none", "one", "many small", "big"],
)
def test_minimum_size_is_enough_and_the_least(files: list[File], sector_size: int) -> None:
    least = minimum_fat_size(Tree.of(files), sector_size=sector_size)
    assert least % 4096 == 0
    plan(*files, size=least, sector_size=sector_size)
    plan(*files, size=least + 4096, sector_size=sector_size)
    with pytest.raises(InputError):
        plan(*files, size=least - 4096, sector_size=sector_size)


def test_too_small_a_volume_names_the_size_it_needs() -> None:
    file = File("big", Content(200 * MIB))
    with pytest.raises(InputError) as caught:
        plan(file, size=100 * MIB)
    assert str(minimum_fat_size(Tree.of([file]))) in caught.value.hint
    assert "100 MiB" in caught.value.message


@pytest.mark.parametrize("size", [0, 4096, 33 * MIB - 1, 2 << 40])
def test_impossible_sizes_are_refused(size: int) -> None:
    with pytest.raises(InputError):
        plan(size=size)


@pytest.mark.parametrize(
    "path",
    [
        "a.",
        "a ",
        "b/a.",
        *(f"a{character}b" for character in '"*:<>?\\|\0\x1f\x7f\n\ud800\uffff'),
        "x" * 256,
        "\U0001f600" * 128,
    ],
)
def test_names_fat_cannot_hold_are_refused(path: str) -> None:
    with pytest.raises(InputError) as caught:
        plan(small(path))
    assert ascii(path) in caught.value.message


@pytest.mark.parametrize(
    "paths",
    [
        ("Readme", "README"),
        ("EFI/a", "efi/b"),
        ("efi", "EFI/b"),
        ("é", "É"),
        ("a/b/c", "a/B"),
    ],
)
def test_names_that_are_one_on_fat_are_refused(paths: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="the same name"):
        plan(*(small(path) for path in paths))


def test_a_file_of_4_gib_is_refused_and_a_byte_less_is_not() -> None:
    with pytest.raises(InputError, match=r"sub/huge.*4 GiB") as caught:
        plan(File("sub/huge", Content(4 * GIB)), size=8 * GIB)
    assert caught.value.hint
    result = plan(File("sub/huge", Content(4 * GIB - 1)), size=8 * GIB)
    assert result.files[0].length == 4 * GIB - 1


@pytest.mark.parametrize("label", ["", "lower", "TWELVE_CHARS", "A.B", "A/B", " A", "É"])
def test_bad_labels_are_refused(label: str) -> None:
    with pytest.raises(InputError, match="label"):
        plan(label=label)


def test_too_many_files_for_a_folder_are_refused() -> None:
    with pytest.raises(InputError, match="too many"):
        minimum_fat_size(Tree.of([File(f"d/{number:08}", Content(0)) for number in range(65_535)]))


def test_aliases() -> None:
    names = {
        "BOOTX64.EFI": b"BOOTX64 EFI",
        "linux": b"LINUX      ",
        "loader.conf": b"LOADER~1CON",
        "The quick brown.fox": b"THEQUI~1FOX",
        "The quick brown two.fox": b"THEQUI~2FOX",
        "Talos-v1.9.0.efi": b"TALOS-~1EFI",
        ".profile": b"PROFIL~1   ",
        "a+b": b"A_B~1      ",
        "é": b"_~1        ",
        # Another file has this very name.
        "some name.txt": b"SOMENA~2TXT",
        "somena~1.txt": b"SOMENA~1TXT",
    }
    assert aliases(list(names)) == names


def test_more_than_nine_aliases_of_one_start_shorten_it() -> None:
    found = aliases([f"same start {number}" for number in range(120)])
    assert len(set(found.values())) == 120
    assert found["same start 9"] == b"SAMES~10   "
    assert found["same start 119"] == b"SAME~120   "


def test_long_records_are_those_of_the_specification() -> None:
    # The example of fatgen103 in "Long Directory Entries"; its alias is THEQUI~1.FOX.
    data = long_records("The quick brown.fox", b"THEQUI~1FOX")
    second, first = data[:32], data[32:]
    assert (second[0], first[0]) == (0x42, 0x01)
    assert second[1:11].decode("utf-16-le") == "wn.fo"
    assert second[14:26] == "x".encode("utf-16-le") + b"\0\0" + b"\xff" * 8
    assert second[28:32] == b"\xff" * 4
    assert first[1:11].decode("utf-16-le") == "The q"
    assert first[14:26].decode("utf-16-le") == "uick b"
    assert first[28:32].decode("utf-16-le") == "ro"
    assert {record[11] for record in (first, second)} == {0x0F}
    assert {record[13] for record in (first, second)} == {0x07}


def test_a_long_name_that_fills_its_records_has_no_padding() -> None:
    assert len(long_records("thirteen char", bytes(11))) == 32
    assert len(long_records("fourteen chars", bytes(11))) == 64
    assert len(long_records("x" * 255, bytes(11))) == 20 * 32
    assert long_records("PLAIN.TXT", bytes(11)) == b""


def test_read_back_gives_the_files_as_planned(tmp_path: Path) -> None:
    files = [
        small("EFI/BOOT/BOOTX64.EFI", bytes(range(256)) * 50),
        small("loader/random-seed", bytes(32), mode=0o444),
        small("empty", b""),
        small("é/ü 😀.txt"),
        *(small(f"many/entry number {number}", b"%d" % number) for number in range(300)),
    ]
    result = plan(*files)
    volume = Content.compose(SIZE + 2 * MIB, [(MIB, result.content)])
    path = write_content(volume, tmp_path / "image")
    found = read_fat(path, offset=MIB, size=SIZE)
    expected = sorted(files, key=lambda file: file.path)
    assert [(file.path, file.mode) for file in found] == [
        (file.path, file.mode) for file in expected
    ]
    assert [content_bytes(file.content) for file in found] == [
        content_bytes(file.content) for file in expected
    ]


def test_planned_runs_do_not_overlap() -> None:
    result = plan(*(small(f"d/{number}", bytes(3000)) for number in range(50)))
    ends = sorted((place.offset, place.offset + place.length) for place in result.files)
    assert all(before[1] <= after[0] for before, after in pairwise(ends))


@pytest.mark.parametrize(
    ("offset", "size"), [(0, SIZE - 4096), (4096, SIZE), (0, SIZE + 4096), (SIZE, SIZE)]
)
def test_read_back_refuses_another_size_or_place(tmp_path: Path, offset: int, size: int) -> None:
    path = write_content(plan(small("A")).content, tmp_path / "image")
    with pytest.raises(OutputError):
        read_fat(path, offset=offset, size=size)


def test_read_back_refuses_a_truncated_volume(tmp_path: Path) -> None:
    path = write_content(plan(small("A")).content, tmp_path / "image")
    with path.open("r+b") as file:
        file.truncate(100_000)
    with pytest.raises(OutputError):
        read_fat(path, offset=0, size=SIZE)


def test_read_back_of_noise_ends_in_an_output_error_or_files(tmp_path: Path) -> None:
    result = plan(*(small(f"folder/long name {number}") for number in range(20)))
    path = write_content(result.content, tmp_path / "image")
    noise = random.Random(7)
    used = [extent for extent in result.content.extents if extent.length > 4]
    objected = 0
    for _ in range(40):
        extent = noise.choice(used)
        at = extent.offset + noise.randrange(min(extent.length, 400))
        with path.open("r+b") as file:
            file.seek(at)
            before = file.read(1)
            file.seek(at)
            file.write(bytes([before[0] ^ 1 << noise.randrange(8)]))
        try:
            read_fat(path, offset=0, size=SIZE)
        except OutputError:
            objected += 1
        with path.open("r+b") as file:
            file.seek(at)
            file.write(before)
    assert objected > 5
    assert len(read_fat(path, offset=0, size=SIZE)) == 20
