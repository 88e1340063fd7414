from __future__ import annotations

import os
import re
import time
from pathlib import Path
from uuid import UUID

import pytest

from imager.content.extents import Content, Data, Extent
from imager.content.tree import File, Tree, VolumePlan
from imager.formats.ext4.plan import minimum_ext4_size, plan_ext4
from imager.support.errors import DependencyError
from imager.support.tools import run_tool
from imager.support.units import GIB, MIB
from tests.lib.tools.support import write_content
from tests.lib.volumes.foreign_volumes import damage

pytestmark = pytest.mark.oracle

ID = UUID("c12a7328-f81f-81d2-ba4b-00a0c93ec93b")
EPOCH = 1_704_067_200


def tool(*argv: str | Path) -> str:
    return run_tool(argv, package="e2fsprogs").decode()


def check(image: Path) -> None:
    tool("e2fsck", "-fn", image)


def debugfs(image: Path, command: str) -> str:
    return tool("debugfs", "-R", command, image)


def plan(files: list[File], scratch: Path, *, size: int) -> VolumePlan:
    return plan_ext4(
        Tree.of(files), size=size, label="IMAGECACHE", uuid=ID, timestamp=EPOCH, scratch=scratch
    )


def cache_files(count: int) -> list[File]:
    """Files of every kind of size, in folders of every kind of depth."""
    files = [
        File(f"blob/sha256-{index:064x}", Content.of_bytes(os.urandom(index * 37 % 9001)))
        for index in range(count)
    ]
    deep = "/".join(["d" * 255] * 9)
    return [
        File("top", Content.of_bytes(b"x" * 4096)),
        File(f"{deep}/leaf", Content.of_bytes(b"deep")),
        *files,
        File("manifests/r\u00e9gistre/\u00fc", Content.of_bytes(b"")),
        File("manifests/zero", Content(12_345)),
    ]


def expected_bytes(file: File) -> bytes:
    data = bytearray(file.content.size)
    for extent in file.content.extents:
        assert isinstance(extent.source, Data)
        data[extent.offset : extent.end] = extent.source.data
    return bytes(data)


@pytest.fixture(name="image")
def image_fixture(tmp_path: Path) -> Path:
    planned = plan(cache_files(100), tmp_path, size=40 * MIB)
    return write_content(planned.content, tmp_path / "image")


@pytest.mark.parametrize("count", [0, 100, 1000, 5000])
def test_every_file_is_read_back(tmp_path: Path, count: int) -> None:
    files = cache_files(count)
    size = minimum_ext4_size(Tree.of(files), scratch=tmp_path)
    image = write_content(plan(files, tmp_path, size=size).content, tmp_path / "image")
    check(image)
    out = tmp_path / "out"
    out.mkdir()
    debugfs(image, f"rdump / {out}")
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert found == {file.path for file in files}
    for file in files:
        assert (out / file.path).read_bytes() == expected_bytes(file)


def test_header(image: Path) -> None:
    lines = tool("dumpe2fs", "-h", image).splitlines()
    header = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {name: value.strip() for name, value in header.items()}
    assert fields["Filesystem volume name"] == "IMAGECACHE"
    assert fields["Filesystem UUID"] == fields["Directory Hash Seed"] == str(ID)
    assert fields["Filesystem features"] == (
        "has_journal ext_attr dir_index filetype extent 64bit flex_bg sparse_super large_file "
        "huge_file dir_nlink extra_isize metadata_csum"
    )
    assert fields["Filesystem state"] == "clean"
    assert fields["Reserved block count"] == "0"
    assert fields["Block count"] == str(40 * MIB // 4096)
    assert fields["Total journal size"] == "8M"
    assert int(fields["Inode count"]) >= 40 * MIB // (128 << 10)
    for name in ("Filesystem created", "Last write time", "Last checked"):
        assert fields[name] == "Mon Jan  1 00:00:00 2024"


@pytest.mark.parametrize(
    ("path", "mode", "links"),
    [("/", "0755", 6), ("/blob", "0755", 2), ("/top", "0644", 1), ("/lost+found", "0700", 2)],
)
def test_inodes_are_roots_with_fixed_times(image: Path, path: str, mode: str, links: int) -> None:
    said = debugfs(image, f"stat {path}")
    assert re.search(rf"Mode:\s+{mode}\b", said)
    assert re.search(r"User:\s+0\s+Group:\s+0\b", said)
    assert re.search(rf"Links: {links}\b", said)
    times = re.findall(r"^\s*(\w+): 0x(\w+):(\w+)", said, flags=re.MULTILINE)
    assert {name for name, _, _ in times} == {"ctime", "atime", "mtime", "crtime"}
    assert {(int(low, 16), int(extra, 16)) for _, low, extra in times} == {(EPOCH, 0)}


def number_after(text: str, before: str) -> int:
    found = re.search(before + r"(?:0x)?([0-9a-f]+)", text)
    assert found
    return int(found[1], 16 if "0x" in found[0] else 10)


@pytest.mark.parametrize("what", ["superblock", "bitmap", "descriptor", "inode", "folder"])
def test_a_damaged_copy_is_noticed(image: Path, what: str) -> None:
    groups = tool("dumpe2fs", image)
    imap = debugfs(image, "imap /top")
    offsets = {
        "superblock": 1024 + 0x0C,
        "bitmap": number_after(groups, "Block bitmap at ") * 4096 + 1,
        "descriptor": number_after(groups, "Group descriptors at ") * 4096 + 0x0C,
        "inode": number_after(imap, "located at block ") * 4096
        + number_after(imap, r"offset (?=0x)")
        + 4,
        "folder": int(debugfs(image, "blocks /blob").split()[0]) * 4096 + 9,
    }
    check(image)
    damage(image, offsets[what])
    with pytest.raises(DependencyError, match="e2fsck failed"):
        check(image)


@pytest.mark.parametrize("size", [5 * GIB, 60 * GIB], ids=["5 GiB", "60 GiB"])
def test_a_large_file_with_holes(tmp_path: Path, size: int) -> None:
    marks = [0, size // 3 // 4096, size // 4096 - 1]
    extents = tuple(Extent(block * 4096, 16, Data(b"%016d" % block)) for block in marks)
    files = [File("a/large", Content(size, extents)), File("b", Content.of_bytes(b"b"))]
    total = minimum_ext4_size(Tree.of(files), scratch=tmp_path)
    planned = plan(files, tmp_path, size=total)
    metadata = planned.content.data_size - files[0].content.data_size
    assert metadata < total // 1000
    image = write_content(planned.content, tmp_path / "image")
    check(image)
    with image.open("rb") as file:
        for block in marks:
            file.seek(int(debugfs(image, f"bmap a/large {block}")) * 4096)
            assert file.read(4096) == (b"%016d" % block).ljust(4096, b"\0")


def test_extents_are_initialised_and_ascend(tmp_path: Path) -> None:
    files = [File("large", Content(3 * GIB)), File("next", Content(MIB))]
    image = write_content(plan(files, tmp_path, size=4 * GIB).content, tmp_path / "image")
    said = debugfs(image, "ex large") + debugfs(image, "ex next")
    assert "Uninit" not in said
    physical = [int(first) for first in re.findall(r"\d+ -\s+\d+\s+(\d+) -\s+\d+\s", said)]
    assert len(physical) > 20
    assert physical == sorted(physical)


def test_many_folders(tmp_path: Path) -> None:
    files = [File(f"{index:0200}/f", Content.of_bytes(b"1")) for index in range(500)]
    size = minimum_ext4_size(Tree.of(files), scratch=tmp_path)
    image = write_content(plan(files, tmp_path, size=size).content, tmp_path / "image")
    check(image)
    assert "Links: 503" in debugfs(image, "stat /")


def test_the_surroundings_do_not_matter(
    tmp_path: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = cache_files(50)
    first = plan(files, tmp_path, size=300 * MIB)
    config = tmp_path / "mke2fs.conf"
    config.write_text("[defaults]\n\tblocksize = 1024\n\tinode_size = 128\n\thash_alg = tea\n")
    for name, value in {
        "TZ": "Pacific/Auckland",
        "LC_ALL": "de_DE.UTF-8",
        "TMPDIR": str(memory),
        "MKE2FS_CONFIG": str(config),
        "E2FSPROGS_FAKE_TIME": "12345",
        "SOURCE_DATE_EPOCH": "54321",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(memory)
    time.sleep(1.1)
    umask = os.umask(0o077)
    try:
        second = plan(files, memory, size=300 * MIB)
    finally:
        os.umask(umask)
    assert first == second


@pytest.mark.parametrize("timestamp", [1, 2**31 + 5, 4_354_819_198])
def test_far_times(tmp_path: Path, timestamp: int) -> None:
    files = cache_files(3)
    planned = plan_ext4(
        Tree.of(files), size=20 * MIB, label="", uuid=ID, timestamp=timestamp, scratch=tmp_path
    )
    image = write_content(planned.content, tmp_path / "image")
    said = debugfs(image, "stat top")
    expected = time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(timestamp))
    assert said.count(expected) == 4


def test_backup_superblocks_are_sound(tmp_path: Path) -> None:
    image = write_content(plan([], tmp_path, size=GIB).content, tmp_path / "image")
    for group in (1, 3, 5, 7):
        said = tool("dumpe2fs", "-h", "-o", f"superblock={group * 32768}", image)
        assert "Last write time:          Mon Jan  1 00:00:00 2024" in said
    with image.open("r+b") as file:
        file.write(bytes(4096))
    with pytest.raises(DependencyError, match="exit code 1:"):
        tool("e2fsck", "-fy", "-b", "32768", "-B", "4096", image)
    check(image)
