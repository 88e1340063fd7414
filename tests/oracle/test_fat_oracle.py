"""FAT32 volumes judged by dosfstools, mtools and pyfatfs; damaged ones must be objected to."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imager.content.extents import Content
from imager.content.tree import File, Tree, VolumePlan
from imager.formats.fat.names import folded
from imager.formats.fat.plan import minimum_fat_size, plan_fat
from imager.support.errors import DependencyError, OutputError
from imager.support.tools import run_tool
from imager.support.units import MIB
from tests.lib.tools.examples import examples
from tests.lib.tools.support import content_bytes, write_content
from tests.lib.volumes.fat_oracle import read_fat

pytestmark = pytest.mark.oracle

EPOCH = 1_704_067_202
OFFSET = MIB
# No user's configuration; names as UTF-8.
MTOOLS = {"MTOOLSRC": "/dev/null", "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}


def boot_files() -> list[File]:
    texts = {
        "EFI/BOOT/BOOTX64.EFI": bytes(range(256)) * 300,
        "EFI/Linux/Talos-v1.9.0.efi": b"uki" * 700_001,
        "loader/loader.conf": b"timeout 10\n",
        "loader/keys/auto/PK.auth": bytes(2049),
        "empty": b"",
        "A very long name that takes several records, really.text": b"x" * 512,
    }
    return [
        *(File(path, Content.of_bytes(data)) for path, data in texts.items()),
        File("loader/random-seed", Content.of_bytes(bytes(range(32))), mode=0o444),
    ]


def many_files() -> list[File]:
    return [
        File(f"imagecache/blob/sha256-{number:064x}", Content.of_bytes(b"%d" % number))
        for number in range(700)
    ]


def full_folder() -> list[File]:
    """Return as many blobs as a folder has room for, seven records each beside its own two."""
    return [
        File(f"imagecache/blob/sha256-{number:064x}", Content.of_bytes(b"%d" % number))
        for number in range((65_536 - 2) // 7)
    ]


def deep_files() -> list[File]:
    folder = "imagecache/manifests/registry.example/" + "/".join("abcdefghijklmnop")
    return [
        File(f"{folder}/reference/{'t' * length}", Content.of_bytes(b"tag"))
        for length in (1, 12, 13, 14, 128, 255)
    ]


def sparse_file() -> File:
    size = 60 * MIB + 12_345
    ends = [(0, Content.of_bytes(b"head")), (size - 4, Content.of_bytes(b"tail"))]
    return File("big/sparse.bin", Content.compose(size, ends))


def plan(files: list[File], *, size: int, sector_size: int = 512) -> VolumePlan:
    return plan_fat(
        Tree.of(files),
        size=size,
        label="TALOS_V1_9",
        volume_id=0xCAFE1234,
        timestamp=EPOCH,
        sector_size=sector_size,
        hidden_sectors=2048,
    )


def is_clean(volume: Path) -> bool:
    """Whether fsck.fat says the two lines of a sound volume, and no more."""
    try:
        said = run_tool(["fsck.fat", "-n", volume], package="dosfstools").decode().splitlines()
    except DependencyError:
        return False
    return len(said) == 2 and said[0].startswith("fsck.fat ") and " files, " in said[1]


def mtools(name: str, image: Path, *arguments: str | Path) -> bytes:
    return run_tool([name, "-i", f"{image}@@{OFFSET}", *arguments], package="mtools", env=MTOOLS)


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def as_bytes(files: list[File]) -> dict[str, bytes]:
    return {file.path: content_bytes(file.content) for file in files}


VOLUMES = [
    pytest.param(512, 34, [*boot_files(), *many_files()], id="512-34"),
    pytest.param(512, 100, [*boot_files(), sparse_file()], id="512-100"),
    pytest.param(512, 1101, [*boot_files(), *many_files(), sparse_file()], id="512-1101"),
    pytest.param(512, 2101, [*boot_files(), sparse_file()], id="512-2101"),
    pytest.param(512, 9 << 10, [*boot_files(), sparse_file()], id="512-9-gib"),
    pytest.param(512, 33 << 10, [*boot_files(), *deep_files()], id="512-33-gib"),
    pytest.param(512, 110, [*boot_files(), *full_folder()], id="512-full-folder"),
    pytest.param(4096, 257, [*boot_files(), *many_files(), sparse_file()], id="4096-257"),
    pytest.param(4096, 1101, boot_files(), id="4096-1101"),
    pytest.param(4096, 2101, [*boot_files(), sparse_file()], id="4096-2101"),
]


@pytest.mark.parametrize(("sector_size", "mebibytes", "files"), VOLUMES)
def test_volumes_are_clean_and_give_every_file_back(
    tmp_path: Path, sector_size: int, mebibytes: int, files: list[File]
) -> None:
    size = mebibytes * MIB
    volume = plan(files, size=size, sector_size=sector_size).content
    alone = write_content(volume, tmp_path / "volume")
    assert is_clean(alone)
    image = write_content(
        Content.compose(size + 2 * OFFSET, [(OFFSET, volume)]), tmp_path / "image"
    )
    expected = as_bytes(files)

    (tmp_path / "copy").mkdir()
    mtools("mcopy", image, "-s", "-n", "-m", "::/", tmp_path / "copy")
    assert tree(tmp_path / "copy") == expected
    assert (tmp_path / "copy/loader/loader.conf").stat().st_mtime == EPOCH

    found = read_fat(image, offset=OFFSET, size=size)
    assert as_bytes(list(found)) == expected
    assert {file.path for file in found if file.mode == 0o444} == {"loader/random-seed"}


@pytest.mark.parametrize("sector_size", [512, 4096])
def test_mtools_sees_label_geometry_and_attributes(tmp_path: Path, sector_size: int) -> None:
    size = 300 * MIB
    volume = plan(boot_files(), size=size, sector_size=sector_size).content
    image = write_content(Content.compose(size + OFFSET, [(OFFSET, volume)]), tmp_path / "image")
    info = mtools("minfo", image, "::").decode()
    for line in (
        f"sector size: {sector_size} bytes",
        "media descriptor byte: 0xf8",
        "hidden sectors: 2048",
        f"big size: {size // sector_size} sectors",
        "serial number: CAFE1234",
        'disk type="FAT32   "',
        "backup boot sector=6",
    ):
        assert line in info
    listing = mtools("mdir", image, "::/").decode()
    assert "Volume in drive : is TALOS_V1_9" in listing
    assert "Volume Serial Number is CAFE-1234" in listing
    assert "2024-01-01   0:00" in listing
    assert mtools("mattrib", image, "::/loader/random-seed").split()[:2] == [b"A", b"R"]
    assert mtools("mtype", image, "::/loader/loader.conf") == b"timeout 10\n"
    assert mtools("mtype", image, "::/LOADER/LOADER~1.CON") == b"timeout 10\n"


@pytest.mark.parametrize("sector_size", [512, 4096])
@pytest.mark.parametrize("files", [[], [*boot_files(), *many_files(), sparse_file()]])
def test_the_least_volume_is_clean(tmp_path: Path, sector_size: int, files: list[File]) -> None:
    size = minimum_fat_size(Tree.of(files), sector_size=sector_size)
    path = write_content(
        plan(files, size=size, sector_size=sector_size).content, tmp_path / "volume"
    )
    assert is_clean(path)
    assert as_bytes(list(read_fat(path, offset=0, size=size))) == as_bytes(files)


def test_a_full_volume_is_clean(tmp_path: Path) -> None:
    files = [File("fill", Content(64 * MIB)), File("last", Content.of_bytes(b"end"))]
    size = minimum_fat_size(Tree.of(files))
    assert size < 65 * MIB
    path = write_content(plan(files, size=size).content, tmp_path / "volume")
    assert is_clean(path)
    assert as_bytes(list(read_fat(path, offset=0, size=size))) == as_bytes(files)


@dataclass(frozen=True)
class Disk:
    """A volume in memory that a test damages; offsets are found by the specification."""

    data: mmap.mmap

    @property
    def sector(self) -> int:
        return self.number(11, "H")

    def number(self, offset: int, layout: str) -> int:
        (value,) = struct.unpack_from("<" + layout, self.data, offset)
        assert isinstance(value, int)
        return value

    def put(self, offset: int, layout: str, value: int) -> None:
        struct.pack_into("<" + layout, self.data, offset, value)

    def put_entry(self, cluster: int, value: int, *, tables: int = 2) -> None:
        first, length = self.number(14, "H") * self.sector, self.number(36, "L") * self.sector
        for table in range(tables):
            self.put(first + table * length + 4 * cluster, "L", value)

    def record(self, alias: bytes) -> int:
        at = self.data.find(alias, (self.number(14, "H") + 2 * self.number(36, "L")) * self.sector)
        assert at > 0
        assert at % 32 == 0
        return at

    def cluster(self, alias: bytes) -> int:
        return self.number(self.record(alias) + 26, "H")


UKI = b"TALOS-~1EFI"
BOOT = b"BOOTX64 EFI"


def free_count(disk: Disk) -> None:
    at = disk.sector + 488
    disk.put(at, "L", disk.number(at, "L") + 1)


def tables_differ(disk: Disk) -> None:
    disk.put_entry(disk.cluster(UKI) + 5, 0, tables=1)


def chain_cut(disk: Disk) -> None:
    disk.put_entry(disk.cluster(UKI) + 5, 0x0FFFFFFF)


def chain_to_free(disk: Disk) -> None:
    disk.put_entry(disk.cluster(UKI) + 5, 0)


def chains_cross(disk: Disk) -> None:
    disk.put_entry(disk.cluster(BOOT) + 2, disk.cluster(UKI) + 3)


def chain_loops(disk: Disk) -> None:
    disk.put_entry(disk.cluster(UKI) + 5, disk.cluster(UKI))


def root_loops(disk: Disk) -> None:
    disk.put_entry(2, 2)


def chain_leaves(disk: Disk) -> None:
    disk.put_entry(disk.cluster(UKI) + 5, 0x0FFFFF00)


def lost_cluster(disk: Disk) -> None:
    disk.put_entry(60_000, 0x0FFFFFFF)


def size_too_large(disk: Disk) -> None:
    disk.put(disk.record(BOOT) + 28, "L", 1 << 20)


def start_moved(disk: Disk) -> None:
    disk.put(disk.record(BOOT) + 26, "H", disk.cluster(BOOT) + 1)


def checksum_wrong(disk: Disk) -> None:
    at = disk.record(UKI) - 32 + 13
    disk.put(at, "B", disk.number(at, "B") ^ 1)


def backup_differs(disk: Disk) -> None:
    disk.put(6 * disk.sector + 13, "B", 2)


def dirty(disk: Disk) -> None:
    disk.put_entry(1, 0x07FFFFFF)


DAMAGES = [
    free_count,
    tables_differ,
    chain_cut,
    chain_to_free,
    chains_cross,
    chain_loops,
    root_loops,
    chain_leaves,
    lost_cluster,
    size_too_large,
    start_moved,
    checksum_wrong,
    backup_differs,
]


def damaged(
    tmp_path: Path, damage: Callable[[Disk], None], *, sector_size: int = 512
) -> tuple[Path, int]:
    """Return a damaged volume and its size."""
    size = minimum_fat_size(Tree.of(boot_files()), sector_size=sector_size)
    volume = plan(boot_files(), size=size, sector_size=sector_size).content
    path = write_content(volume, tmp_path / "volume")
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        damage(Disk(data))
    return path, size


@pytest.mark.parametrize("sector_size", [512, 4096])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_objected_to(
    tmp_path: Path, damage: Callable[[Disk], None], sector_size: int
) -> None:
    path, size = damaged(tmp_path, damage, sector_size=sector_size)
    assert not is_clean(path)
    with pytest.raises(OutputError, match="damaged"):
        read_fat(path, offset=0, size=size)


@pytest.mark.parametrize("sector_size", [512, 4096])
@pytest.mark.parametrize("damage", [chain_cut, chain_leaves, start_moved])
def test_mtools_gives_no_right_file_from_a_damaged_volume(
    tmp_path: Path, damage: Callable[[Disk], None], sector_size: int
) -> None:
    path, _ = damaged(tmp_path, damage, sector_size=sector_size)
    (tmp_path / "copy").mkdir()
    try:
        run_tool(
            ["mcopy", "-i", path, "-s", "-n", "::/", tmp_path / "copy"],
            package="mtools",
            env=MTOOLS,
        )
    except DependencyError:
        return
    assert tree(tmp_path / "copy") != as_bytes(boot_files())


def listing(path: Path) -> str:
    """Return what mdir says of the root and of every file's path."""
    said = [
        run_tool(["mdir", *options, "-i", path, "::/"], package="mtools", env=MTOOLS)
        for options in ([], ["-/", "-b"])
    ]
    return b"".join(said).decode()


def label_changed(disk: Disk) -> None:
    disk.put(disk.record(b"TALOS_V1_9 "), "B", ord("X"))


def name_changed(disk: Disk) -> None:
    disk.put(disk.record(BOOT), "B", ord("X"))


def serial_changed(disk: Disk) -> None:
    disk.put(67, "L", 1)


@pytest.mark.parametrize("sector_size", [512, 4096])
@pytest.mark.parametrize("damage", [label_changed, name_changed, serial_changed])
def test_mdir_lists_something_else_of_a_damaged_volume(
    tmp_path: Path, damage: Callable[[Disk], None], sector_size: int
) -> None:
    path, _ = damaged(tmp_path, lambda _: None, sector_size=sector_size)
    sound = listing(path)
    assert "Volume in drive : is TALOS_V1_9" in sound
    assert "::/EFI/Linux/Talos-v1.9.0.efi\n" in sound
    path, _ = damaged(tmp_path, damage, sector_size=sector_size)
    assert listing(path) != sound


def test_an_unclean_volume_is_objected_to(tmp_path: Path) -> None:
    path, size = damaged(tmp_path, dirty)
    with pytest.raises(OutputError, match="not cleanly unmounted"):
        read_fat(path, offset=0, size=size)


@pytest.mark.parametrize("sector_size", [512, 4096])
def test_undamaged_is_not_objected_to(tmp_path: Path, sector_size: int) -> None:
    path, size = damaged(tmp_path, lambda _: None, sector_size=sector_size)
    assert is_clean(path)
    assert as_bytes(list(read_fat(path, offset=0, size=size))) == as_bytes(boot_files())


NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"*/:<>?\\|\uffff'),
    min_size=1,
    max_size=120,
).filter(lambda name: name[-1] not in ". ")


@settings(max_examples=examples(20))
@given(names=st.lists(NAMES, max_size=30, unique_by=folded))
def test_any_names_are_clean_and_read_back(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    files = [File(name, Content.of_bytes(name.encode())) for name in names]
    path = tmp_path_factory.mktemp("names") / "volume"
    write_content(plan(files, size=34 * MIB).content, path)
    assert is_clean(path)
    assert as_bytes(list(read_fat(path, offset=0, size=34 * MIB))) == as_bytes(files)
