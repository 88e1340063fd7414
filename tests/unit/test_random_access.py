"""Reading parts of a content in any order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imager.content.extents import Content, Extent, FileRange
from imager.content.random_access import ContentReader
from imager.support.errors import InputError
from tests.lib.tools.support import open_files
from tests.lib.volumes.disk_images import Sources, SparseDisk, sparse_disks


@pytest.fixture(scope="module", name="sources")
def source_files(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    return Sources.make(tmp_path_factory.mktemp("sources"))


@given(data=st.data())
def test_every_part_is_what_it_is(sources: Sources, data: st.DataObject) -> None:
    """Of memory, files, streams and holes; parts past the end are shorter."""
    disk: SparseDisk = data.draw(sparse_disks(sources))
    size = disk.content.size
    parts = data.draw(
        st.lists(st.tuples(st.integers(0, size + 10), st.integers(0, size)), max_size=9)
    )
    with ContentReader(disk.content) as reader:
        for start, length in parts:
            assert reader.read(start, length) == disk.data[start : start + length]
            covered = [e for e in disk.content.extents if e.end > start]
            first = max(covered[0].offset, start) if covered else size
            assert reader.data_start(start) == first
    assert open_files(sources.path.parent) == 0


def test_a_file_that_became_shorter(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    content = Content(300, (Extent(100, 100, FileRange(path)),))
    with ContentReader(content) as reader:
        assert reader.read(0, 300) == bytes(300)
        os.truncate(path, 50)
        assert reader.read(0, 150) == bytes(150)
        with pytest.raises(InputError, match="is shorter than it was"):
            reader.read(0, 151)
