"""Reading XFS volumes of mkfs.xfs, of all its versions, and damaged ones."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imager.content.extents import Content
from imager.content.tree import File, Tree
from imager.formats.xfs.plan import plan_xfs
from imager.formats.xfs.read import open_xfs
from imager.support.errors import InputError
from imager.support.units import MIB
from tests.lib.tools.cli import tool
from tests.lib.tools.examples import edit_count
from tests.lib.tools.support import write_content
from tests.lib.volumes.foreign_volumes import (
    edited,
    edits,
    metadata_offsets,
    odd_tree,
    read,
    small_tree,
    survives,
    write_tree,
)

pytestmark = pytest.mark.oracle

# Names in mkfs.xfs's prototype have no blanks.
TREE = {path.replace(" ", "_"): data for path, data in odd_tree(many=2000).items()}
OPTIONS = (
    (),
    ("-m", "crc=0"),
    ("-m", "crc=0", "-n", "ftype=0", "-i", "size=256"),
    ("-b", "size=1024"),
    ("-b", "size=1024", "-n", "size=8192"),
    ("-i", "size=2048"),
    ("-m", "bigtime=0,inobtcount=0,reflink=0"),
)


def prototype(folder: Path) -> str:
    """Return the lines of mkfs.xfs's prototype for what is in a folder."""
    lines = []
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            lines.append(f"{path.name} d--755 0 0\n{prototype(path)}")
        else:
            lines.append(f"{path.name} ---644 0 0 {path}")
    return "\n".join((*lines, "$"))


def mkfs(path: Path, folder: Path, *options: str) -> Path:
    text = path.with_suffix(".proto")
    text.write_text(f"/boot\n0 0\nd--755 0 0\n{prototype(folder)}\n")
    with path.open("wb") as file:
        file.truncate(512 * MIB)
    tool("mkfs.xfs", "-q", *options, "-p", text, path)
    return path


@pytest.fixture(scope="module", name="folder")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("source"), TREE)


@pytest.mark.parametrize("options", OPTIONS, ids="".join)
def test_what_mkfs_made(options: tuple[str, ...], folder: Path, tmp_path: Path) -> None:
    path = mkfs(tmp_path / "x.img", folder, *options)
    assert read(open_xfs(path)) == TREE
    many = {p: d for p, d in TREE.items() if p.startswith("imagecache/many/")}
    found = read(open_xfs(path, folder="imagecache/many"))
    assert found == {p.removeprefix("imagecache/many/"): d for p, d in many.items()}


def test_what_we_made_and_a_cut_off_copy(tmp_path: Path) -> None:
    files = {path: data for path, data in TREE.items() if path.isascii()}
    tree = Tree.of(File(path, Content.of_bytes(data)) for path, data in files.items())
    plan = plan_xfs(
        tree, size=300 * MIB, label="x", uuid=UUID(int=1), timestamp=1, scratch=tmp_path
    )
    path = write_content(plan.content, tmp_path / "x.img")
    assert read(open_xfs(path)) == files
    with path.open("r+b") as file:
        file.truncate(299 * MIB)
    with pytest.raises(InputError, match="truncated, or larger than its partition"):
        open_xfs(path)


@pytest.fixture(scope="module", name="small")
def small_image(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[int]]:
    """Return the part of a volume with metadata, and where they are."""
    folder = tmp_path_factory.mktemp("small")
    path = mkfs(folder / "x.img", write_tree(folder / "tree", small_tree()), "-l", "size=64m")
    tree = open_xfs(path)
    with path.open("rb") as file:
        image = file.read(MIB)
    files = [each for each in tree.files if each.content.size and _end(each) <= MIB]
    return image, metadata_offsets(image, files)


def _end(file: File) -> int:
    return max(extent.source.offset + extent.length for extent in file.content.extents)


@pytest.mark.fuzz
@settings(max_examples=edit_count(200), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_survived(
    small: tuple[bytes, list[int]], tmp_path: Path, data: st.DataObject
) -> None:
    image, offsets = small
    path = edited(image, data.draw(edits(offsets)), tmp_path / "x.img")
    with path.open("r+b") as file:
        file.truncate(512 * MIB)
    survives(path, open_xfs)
