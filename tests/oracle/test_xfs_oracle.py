"""XFS volumes judged by xfsprogs and by GRUB; damaged copies must be objected to."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import time
from pathlib import Path
from uuid import UUID

import pytest

from imager.content.extents import Content, Data, Extent
from imager.content.tree import File, Tree, VolumePlan
from imager.formats.errors import VolumeTooSmallError
from imager.formats.xfs.plan import plan_xfs
from imager.support.errors import DependencyError
from imager.support.tools import find_tool, run_tool
from imager.support.units import MIB
from tests.lib.tools.support import content_bytes, write_content
from tests.lib.volumes.foreign_volumes import damage

pytestmark = pytest.mark.oracle

ID = UUID("c12a7328-f81f-81d2-ba4b-00a0c93ec93b")
EPOCH = 1_704_067_200
GRUB_CFG = b"set timeout=3\nmenuentry 'A' { linux /A/vmlinuz; initrd /A/initramfs.xz; }\n"
CONFIG = "grub/grub.cfg"


def plan(
    files: list[File],
    scratch: Path,
    *,
    size: int = 1000 * MIB,
    sector_size: int = 512,
    timestamp: int = EPOCH,
) -> VolumePlan:
    return plan_xfs(
        Tree.of(files),
        size=size,
        label="BOOT",
        uuid=ID,
        timestamp=timestamp,
        scratch=scratch,
        sector_size=sector_size,
    )


def boot_files() -> list[File]:
    return [
        File("A/vmlinuz", Content.of_bytes(os.urandom(3_000_001))),
        File("A/initramfs.xz", Content.of_bytes(os.urandom(9_999_999))),
        File(CONFIG, Content.of_bytes(GRUB_CFG)),
        File("empty", Content(0)),
        File("zeros", Content(12_345)),
    ]


def many_files() -> list[File]:
    return [File(f"many/file-{index:040}", Content.of_bytes(b"%d" % index)) for index in range(700)]


def is_sound(image: Path) -> bool:
    """Whether xfs_repair finds nothing to do, and xfs_db's own check nothing to say."""
    try:
        run_tool(["xfs_repair", "-n", image], package="xfsprogs")
        return run_tool(["xfs_db", "-r", "-c", "check", image], package="xfsprogs") == b""
    except DependencyError:
        return False


def xfs_db(image: Path, *commands: str) -> str:
    words = [word for command in commands for word in ("-c", command)]
    return run_tool(["xfs_db", "-r", *words, image], package="xfsprogs").decode()


def grub(image: Path, *command: str | Path) -> bytes:
    """Run a command of GRUB's on the volume."""
    return run_tool(["grub-fstest", image, *command], package="grub-common")


def grub_reads(image: Path, file: File, folder: Path) -> bool:
    expected = folder / "expected"
    expected.write_bytes(content_bytes(file.content))
    try:
        grub(image, "cmp", f"/{file.path}", expected)
    except DependencyError:
        return False
    return True


def place(image: Path, *commands: str) -> int:
    """Return the byte of the volume at which xfs_db is after `commands`."""
    found = re.search(r"byte offset (\d+)", xfs_db(image, *commands, "addr"))
    assert found
    return int(found[1])


def data_place(image: Path, path: str) -> int:
    (number,) = re.findall(r"startblock (\d+)", xfs_db(image, f"path /{path}", "bmap"))
    return int(xfs_db(image, f"convert fsblock {number} byte").split("(")[1].split(")")[0])


@pytest.fixture(name="image")
def image_fixture(tmp_path: Path) -> Path:
    return write_content(plan(boot_files(), tmp_path).content, tmp_path / "image")


@pytest.mark.parametrize(
    ("mebibytes", "sector_size"),
    [(300, 512), (1000, 512), (2000, 512), (300, 4096), (1000, 4096), (2000, 4096)],
)
def test_every_file_is_read_by_grub(tmp_path: Path, mebibytes: int, sector_size: int) -> None:
    files = [*boot_files(), *many_files()]
    planned = plan(files, tmp_path, size=mebibytes * MIB, sector_size=sector_size)
    image = write_content(planned.content, tmp_path / "image")
    assert is_sound(image)
    assert grub(image, "cat", f"/{CONFIG}") == GRUB_CFG
    for file in files[:10]:
        assert grub_reads(image, file, tmp_path), file.path
    assert set(grub(image, "ls", "/").split()) == {b"A/", b"grub/", b"many/", b"empty", b"zeros"}
    assert len(grub(image, "ls", "/many").split()) == 700
    for found in planned.files[:3]:
        assert found.offset == data_place(image, found.path)


def test_a_file_larger_than_an_allocation_group(tmp_path: Path) -> None:
    marks = [0, 100 * MIB, 300 * MIB - 16, 399 * MIB]
    extents = tuple(Extent(mark, 16, Data(b"%016d" % mark)) for mark in marks)
    large = File("large", Content(400 * MIB, extents))
    image = write_content(plan([large], tmp_path).content, tmp_path / "image")
    assert is_sound(image)
    assert len(re.findall("startblock", xfs_db(image, "path /large", "bmap"))) > 1
    assert grub_reads(image, large, tmp_path)


def test_the_volume_is_as_asked_for(image: Path) -> None:
    said = xfs_db(image, "sb 0", "p")
    fields = dict(re.findall(r"^(\w+) = (.*)$", said, flags=re.MULTILINE))
    assert fields["fname"] == r'"BOOT\000\000\000\000\000\000\000\000"'
    assert fields["uuid"] == str(ID)
    assert int(fields["dblocks"]) == 1000 * MIB // 4096
    assert (fields["blocksize"], fields["inodesize"], fields["sectsize"]) == ("4096", "512", "512")
    # The kernel's fs/xfs/libxfs/xfs_format.h: XFS_SB_FEAT_RO_COMPAT_*, XFS_SB_FEAT_INCOMPAT_*.
    assert int(fields["features_ro_compat"], 16) == (1 << 0) | (1 << 2) | (1 << 3)
    assert int(fields["features_incompat"], 16) == (1 << 0) | (1 << 1) | (1 << 3)
    assert fields["features_log_incompat"] == "0"
    assert xfs_db(image, "version").count("SPARSE_INODES,REFLINK,INOBTCNT,BIGTIME") == 1


def test_sectors_of_4096_bytes_are_the_logs_too(tmp_path: Path) -> None:
    planned = plan(boot_files(), tmp_path, sector_size=4096)
    image = write_content(planned.content, tmp_path / "image")
    said = xfs_db(image, "sb 0", "p sectsize logsectsize logsunit")
    assert said.splitlines() == ["sectsize = 4096", "logsectsize = 4096", "logsunit = 4096"]


@pytest.mark.parametrize("path", ["/", "/A", "/A/vmlinuz", "/empty", "/grub/grub.cfg"])
def test_inodes_are_roots_with_fixed_times(image: Path, path: str) -> None:
    times = [f"{time}.{part}" for time in TIMES for part in ("sec", "nsec")]
    said = xfs_db(
        image, f"path {path}", f"p core.mode core.uid core.gid core.gen {' '.join(times)}"
    )
    fields = dict(re.findall(r"^(\S+) = (.*)$", said, flags=re.MULTILINE))
    folder = path in ("/", "/A")
    assert fields["core.mode"] == ("040755" if folder else "0100644")
    assert (fields["core.uid"], fields["core.gid"], fields["core.gen"]) == ("0", "0", "0")
    for name in TIMES:
        assert fields[f"{name}.sec"] == "Mon Jan  1 00:00:00 2024"
        assert fields[f"{name}.nsec"] == "0"


TIMES = ("core.atime", "core.mtime", "core.ctime", "v3.crtime")


@pytest.mark.parametrize("timestamp", [0, 2**31 + 5, (1 << 33) - 1])
def test_far_times(tmp_path: Path, timestamp: int) -> None:
    planned = plan(boot_files(), tmp_path, size=300 * MIB, timestamp=timestamp)
    image = write_content(planned.content, tmp_path / "image")
    assert is_sound(image)
    said = xfs_db(image, "path /empty", *(f"p {name}.sec" for name in TIMES))
    assert said.count(time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(timestamp))) == 4


def test_files_are_written_and_not_reserved(image: Path) -> None:
    for path, size in {"A/vmlinuz": 3_000_001, "zeros": 12_345, CONFIG: len(GRUB_CFG)}.items():
        said = xfs_db(image, f"path /{path}", "p core.size core.nextents core.prealloc", "bmap")
        assert f"core.size = {size}\ncore.nextents = 1\ncore.prealloc = 0\n" in said
        assert said.rstrip().endswith("flag 0")


OBJECTS = {
    "superblock": (("sb 0",), 144),
    "backup superblock": (("sb 2",), 84),
    "free space header": (("agf 1",), 40),
    "free space tree": (("agf 0", "addr bnoroot"), 60),
    "inode header": (("agi 0",), 20),
    "inode tree": (("agi 0", "addr root"), 60),
    "root folder": (("inode 128",), 184),
    "times of a file": (("path /A/vmlinuz",), 43),
    "place of a file": (("path /A/vmlinuz",), 176 + 12),
    "size of a file": (("path /A/vmlinuz",), 60),
    "checksum of a file": (("path /A/vmlinuz",), 101),
}


@pytest.mark.parametrize("what", OBJECTS)
def test_a_damaged_copy_is_noticed(image: Path, what: str) -> None:
    commands, within = OBJECTS[what]
    offset = place(image, *commands) + within
    assert is_sound(image)
    damage(image, offset)
    assert not is_sound(image)


@pytest.mark.parametrize("what", ["data", "place of a file", "size of a file", "root folder"])
def test_grub_reads_no_right_file_from_a_damaged_copy(
    image: Path, tmp_path: Path, what: str
) -> None:
    file = File(CONFIG, Content.of_bytes(GRUB_CFG))
    assert grub_reads(image, file, tmp_path)
    offsets = {
        "data": data_place(image, CONFIG) + len(GRUB_CFG) - 1,
        "place of a file": place(image, f"path /{CONFIG}") + 176 + 12,
        "size of a file": place(image, f"path /{CONFIG}") + 63,
        # Behind the head and the entry of "A", in the name "grub".
        "root folder": place(image, "inode 128") + 176 + 6 + 9 + 3,
    }
    damage(image, offsets[what])
    assert not grub_reads(image, file, tmp_path)


def test_what_just_fits_is_sound(tmp_path: Path) -> None:
    def files(mebibytes: int) -> list[File]:
        return [File("fill", Content(mebibytes * MIB)), *boot_files()]

    fits, full = 1, 300
    while full - fits > 1:
        middle = (fits + full) // 2
        try:
            plan(files(middle), tmp_path, size=300 * MIB)
            fits = middle
        except VolumeTooSmallError:
            full = middle
    assert fits > 200
    image = write_content(plan(files(fits), tmp_path, size=300 * MIB).content, tmp_path / "image")
    assert is_sound(image)
    assert grub_reads(image, files(fits)[-3], tmp_path)


def put_faketime(folder: Path, moment: str) -> None:
    """Put an mkfs.xfs into `folder` that takes it for `moment`."""
    real = find_tool("mkfs.xfs", package="xfsprogs")
    fake = find_tool("faketime", package="faketime")
    script = folder / "mkfs.xfs"
    script.write_text(f'#!/bin/sh\nexec {fake} "{moment}" {real} "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize("sector_size", [512, 4096])
def test_the_surroundings_do_not_matter(
    tmp_path: Path, memory: Path, monkeypatch: pytest.MonkeyPatch, sector_size: int
) -> None:
    files = [*boot_files(), *many_files()]
    first = plan(files, tmp_path, sector_size=sector_size)
    for name, value in {
        "TZ": "Pacific/Auckland",
        "LC_ALL": "de_DE.UTF-8",
        "TMPDIR": str(memory),
        "SOURCE_DATE_EPOCH": "54321",
        "DETERMINISTIC_SEED": "",
        "PATH": f"{memory}:{os.environ['PATH']}",
    }.items():
        monkeypatch.setenv(name, value)
    put_faketime(memory, "2041-05-06 07:08:09")
    monkeypatch.chdir(memory)
    umask = os.umask(0o077)
    try:
        second = plan(files, memory, sector_size=sector_size)
    finally:
        os.umask(umask)
    assert first == second


def test_faketime_reaches_mkfs(tmp_path: Path) -> None:
    """The test above can fail: without us the time that mkfs.xfs believes is in the volume."""
    put_faketime(tmp_path, "2041-05-06 07:08:09")
    volume = tmp_path / "volume"
    with volume.open("wb") as file:
        file.truncate(300 * MIB)
    subprocess.run([tmp_path / "mkfs.xfs", "-q", volume], check=True)
    assert "2041" in xfs_db(volume, "inode 128", "p core.mtime.sec")
