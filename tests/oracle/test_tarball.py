"""Tars of GNU tar are read, and GNU tar reads ours."""

from __future__ import annotations

import gzip
import subprocess
import tarfile
from pathlib import Path

import pytest

from imager.content.compression import codec_of
from imager.content.extents import Content
from imager.content.tar import plan_tar
from imager.content.tree import File, Tree
from imager.oci.layerfiles import Regular, layer_entries
from tests.lib.tools.cli import tool
from tests.lib.tools.support import write_content
from tests.lib.tools.tars import FILES, index, index_file, planned

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("format_", ["gnu", "pax", "posix", "oldgnu"])
@pytest.mark.parametrize("start", [".", "folder"])
def test_archives_of_gnu_tar(tmp_path: Path, format_: str, start: str) -> None:
    for name, data in FILES.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    argv = ["tar", f"--format={format_}", "-C", str(tmp_path / "tree"), "-cf", "-", start]
    done = subprocess.run(argv, check=True, capture_output=True)
    wanted = {k: v for k, v in FILES.items() if start == "." or k.startswith("folder/")}
    assert index(done.stdout, tmp_path / "t") == wanted


def test_a_layer_of_umoci_insert_ends_with_its_data(tmp_path: Path) -> None:
    """GNU tar reports an early end; umoci, which reads with Go's archive/tar, does not."""
    source, layout = tmp_path / "source", tmp_path / "layout"
    source.write_bytes(b"x" * 700)
    tool("umoci", "init", "--layout", layout)
    tool("umoci", "new", "--image", f"{layout}:a")
    tool("umoci", "insert", "--rootless", "--image", f"{layout}:a", source, "/bin/a")
    tool("umoci", "unpack", "--rootless", "--image", f"{layout}:a", tmp_path / "bundle")
    assert (tmp_path / "bundle/rootfs/bin/a").read_bytes() == source.read_bytes()
    (layer,) = (each for each in (layout / "blobs/sha256").iterdir() if codec_of(each.read_bytes()))
    assert gzip.decompress(layer.read_bytes()).endswith(b"x")
    (entry,) = layer_entries(Content.of_file(layer), where="layer")
    assert isinstance(entry.what, Regular) and entry.what.content.size == 700


def test_a_planned_archive_is_read_by_gnu_tar(tmp_path: Path) -> None:
    path = write_content(planned(FILES), tmp_path / "t")
    assert path.stat().st_size % 512 == 0
    (tmp_path / "x").mkdir()
    subprocess.run(["tar", "-xf", path, "-C", tmp_path / "x"], check=True)
    for name, data in FILES.items():
        assert (tmp_path / "x" / name).read_bytes() == data
    with tarfile.open(path) as tar:
        for info in tar:
            mode = 0o755 if info.isdir() else 0o644
            assert (info.mode, info.uid, info.gid, info.mtime) == (mode, 0, 0, 1_700_000_000)


def test_a_planned_member_may_be_larger_than_8_gib(tmp_path: Path) -> None:
    size = 9 << 30
    files = [File("big", Content(size)), File("z", Content.of_bytes(b"z"))]
    path = write_content(plan_tar(Tree.of(files), timestamp=0).content, tmp_path / "t")
    listed = subprocess.run(["tar", "-tvf", path], check=True, capture_output=True, text=True)
    assert [line.split()[2] for line in listed.stdout.splitlines()] == [str(size), "1"]
    assert [member.content.size for member in index_file(path).files] == [size, 1]
