"""XFS volumes as plans: where contents stand, and what is refused."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from imager.content.extents import Codec, Content, Data, Extent, FileRange, StreamRange
from imager.content.tree import File, Tree, VolumePlan
from imager.formats.errors import VolumeTooSmallError
from imager.formats.xfs import inodes as xfs_inodes
from imager.formats.xfs.plan import plan_xfs
from imager.support.errors import DependencyError, HostError, InputError
from imager.support.tools import find_tool
from imager.support.units import GIB, MIB
from tests.lib.tools.support import largest_file

ID = UUID("c12a7328-f81f-81d2-ba4b-00a0c93ec93b")
EPOCH = 1_704_067_200


def plan(
    files: list[File],
    scratch: Path,
    *,
    size: int = 300 * MIB,
    label: str = "BOOT",
    timestamp: int = EPOCH,
    sector_size: int = 512,
) -> VolumePlan:
    return plan_xfs(
        Tree.of(files),
        size=size,
        label=label,
        uuid=ID,
        timestamp=timestamp,
        scratch=scratch,
        sector_size=sector_size,
    )


@pytest.mark.parametrize("sector_size", [512, 4096])
def test_data_are_planned_from_where_they_lie(tmp_path: Path, sector_size: int) -> None:
    kernel = tmp_path / "kernel"
    kernel.write_bytes(os.urandom(1_000_001))
    stream = StreamRange(tmp_path / "never read.gz", Codec.GZIP, 77)
    files = [
        File("A/vmlinuz", Content.of_file(kernel)),
        File("A/initramfs.xz", Content.of_source(stream, 20 * MIB + 1)),
        File("grub/grub.cfg", Content.of_bytes(b"menuentry")),
        File("empty", Content(0)),
    ]
    planned = plan(files, tmp_path, sector_size=sector_size)

    assert [place.path for place in planned.files] == [file.path for file in files]
    assert [place.length for place in planned.files] == [1_000_001, 20 * MIB + 1, 9, 0]
    assert planned.files[3].offset == 0
    assert planned.content.size == 300 * MIB
    sources: list[tuple[int, object]] = []
    for place in planned.files[:3]:
        assert place.offset % 4096 == 0
        (first, *_) = planned.content.slice(place.offset, place.length).extents
        sources.append((first.length, first.source))
    assert sources[0] == (1_000_001, FileRange(kernel))
    assert sources[1] == (20 * MIB + 1, stream)
    assert sources[2] == (9, Data(b"menuentry"))
    metadata = planned.content.data_size - sum(file.content.size for file in files)
    assert metadata < MIB


def test_a_file_in_pieces_is_cut_where_the_volume_is(tmp_path: Path) -> None:
    source = FileRange(tmp_path / "never read", 5)
    files = [File("large", Content.of_source(source, 210 * MIB + 3))]
    planned = plan(files, tmp_path)
    pieces = [extent for extent in planned.content.extents if isinstance(extent.source, FileRange)]
    assert len(pieces) > 2
    pieces.sort(key=lambda extent: extent.source.offset)
    at = 5
    for extent in pieces:
        assert extent == Extent(extent.offset, extent.length, FileRange(source.path, at))
        at += extent.length
    assert at == 5 + 210 * MIB + 3


def test_holes_of_a_file_stay_holes(tmp_path: Path) -> None:
    content = Content(100 * MIB, (Extent(50 * MIB, 4, Data(b"data")),))
    planned = plan([File("sparse", content)], tmp_path)
    assert planned.content.data_size < MIB


def test_scratch_is_left_empty(tmp_path: Path) -> None:
    plan([File("a/b", Content(1))], tmp_path)
    with pytest.raises(VolumeTooSmallError):
        plan([File("a", Content(300 * MIB))], tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "path",
    [
        *("n" * 256, "a b", "a\tb", "a\nb"),
        *("$", "a/$", ":a", "\xfc", "\udc80", "a\\b", '"a"', "/".join(["d"] * 600)),
    ],
)
def test_unusable_names_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(InputError, match="unsupported path") as caught:
        plan([File(path, Content(1))], tmp_path)
    assert "A-Z, a-z, 0-9" in caught.value.hint


@pytest.mark.parametrize("size", [-1, 0, 4096, 300 * MIB - 4096, 300 * MIB + 512, 2048 * GIB])
def test_unusable_sizes_are_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(InputError, match="invalid size") as caught:
        plan([], tmp_path, size=size)
    assert "300 MiB to 1 TiB" in caught.value.hint


@pytest.mark.parametrize("mebibytes", [240, 300, 4000])
def test_what_does_not_fit_is_told_with_both_sizes(tmp_path: Path, mebibytes: int) -> None:
    files = [File(f"file{index}", Content(mebibytes * MIB // 8)) for index in range(8)]
    message = rf"the files, {'3.9 GiB' if mebibytes == 4000 else f'{mebibytes} MiB'}, do not fit"
    with pytest.raises(
        VolumeTooSmallError, match=rf"{message} in an XFS volume of 300 MiB"
    ) as caught:
        plan(files, tmp_path)
    assert caught.value.exit_code == 2
    assert "larger" in caught.value.hint


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    files = [File(f"{index:05}", Content(0)) for index in range(17_000)]
    with pytest.raises(InputError, match="more than 10,000 files"):
        plan(files, tmp_path)
    assert len(plan(files[:10_000], tmp_path).files) == 10_000


def test_a_scratch_disk_without_files_so_large_is_named(tmp_path: Path) -> None:
    with largest_file(MIB), pytest.raises(HostError, match="File too large"):
        plan([], tmp_path)


def test_a_missing_mkfs_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imager.support.tools.search_path", lambda: str(tmp_path))
    with pytest.raises(DependencyError, match=r"mkfs\.xfs is not installed") as caught:
        plan([], tmp_path)
    assert caught.value.hint == "apt-get install xfsprogs"


Script = Callable[[str], Path]


@pytest.fixture(name="mkfs")
def mkfs_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Return what puts a shell script in mkfs.xfs's place; `$REAL` in it is the real one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    real = find_tool("mkfs.xfs", package="xfsprogs")

    def put(script: str) -> Path:
        path = folder / "mkfs.xfs"
        path.write_text(f"#!/bin/bash\nREAL={real}\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        return folder / "log"

    return put


# Released as xfsprogs 5.10, 5.19, 6.1, 6.10, 6.13 and 7.2.
@pytest.mark.parametrize(
    ("version", "nrext64", "later"),
    [
        *(("5.10.0", False, False), ("5.19.0", True, False), ("6.1.0", True, False)),
        *(("6.10.0", True, True), ("6.13.0", True, True), ("7.2.0", True, True)),
    ],
)
def test_each_version_is_told_to_leave_out_what_it_knows(
    tmp_path: Path, mkfs: Script, version: str, nrext64: bool, later: bool
) -> None:
    log = mkfs(
        f'if [ "$1" = -V ]; then echo "mkfs.xfs version {version}"; exit; fi\n'
        'echo "$@" >"${0%/*}/log"\n'
        'known=("${@//,exchange=0/}")\n'
        'exec "$REAL" "${known[@]//,parent=0/}"'
    )
    plan([], tmp_path)
    options = log.read_text()
    assert ("nrext64=0" in options) == nrext64
    assert ("exchange=0" in options) == ("parent=0" in options) == later
    assert "nrext64=1" not in options


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bigtime=1", "bigtime=0", "features"),
        ("reflink=1", "reflink=0", "features"),
        ("nrext64=0", "nrext64=1", "features"),
        ("size=512", "size=1024", "bytes"),
    ],
)
def test_a_volume_of_other_features_is_refused(
    tmp_path: Path, mkfs: Script, old: str, new: str, message: str
) -> None:
    mkfs(f'exec "$REAL" "${{@//{old}/{new}}}"')
    with pytest.raises(DependencyError, match=message):
        plan([], tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [("s/r--644 1 0 5000/r--644 1 0 50000/", "extents"), ("s/r--644 1 0/r--644 0 0/", "0 files")],
)
def test_files_that_are_not_as_asked_for_are_refused(
    tmp_path: Path, mkfs: Script, change: str, message: str
) -> None:
    mkfs(f'[ "$1" = -V ] || sed -i "{change}" tree; exec "$REAL" "$@"')
    with pytest.raises(DependencyError, match=message):
        plan([File("file", Content(5000))], tmp_path)


def test_a_version_that_cannot_be_read_is_an_error(tmp_path: Path, mkfs: Script) -> None:
    mkfs("echo none")
    with pytest.raises(DependencyError, match="'none'"):
        plan([], tmp_path)


def test_what_mkfs_says_is_passed_on(tmp_path: Path, mkfs: Script) -> None:
    mkfs('[ "$1" = -V ] && exec "$REAL" -V; echo "the disk is on fire" >&2; exit 1')
    with pytest.raises(DependencyError, match="the disk is on fire") as caught:
        plan([], tmp_path)
    assert not isinstance(caught.value, VolumeTooSmallError)


def test_no_file_system_at_all_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "zeros"
    path.write_bytes(bytes(8192))
    with pytest.raises(DependencyError, match="mkfs"):
        xfs_inodes.fill_files(path, [], timestamp=EPOCH, sector_size=512)
