"""A tar of one sparse file, read by Python's tarfile."""

from __future__ import annotations

import io
import random
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imager.content.extents import Content
from imager.content.sparse_tar import plan_sparse_tar
from tests.lib.tools.support import content_bytes

GRAIN = 4096
GIB = 1 << 30
NOISE = random.Random("noise").randbytes(1 << 16)


def member(archive: bytes) -> tuple[tarfile.TarInfo, bytes]:
    """Return the only member and its bytes."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        (info,) = tar.getmembers()
        file = tar.extractfile(info)
        assert file is not None
        return info, file.read()


def parts(count: int, *, gap: int = 3 * GRAIN, length: int = 5) -> Content:
    """Return a content of `count` parts with holes between them."""
    placed = [(n * gap, Content.of_bytes(NOISE[n : n + length])) for n in range(count)]
    return Content.compose(count * gap + 1000, placed)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 24, 25, 26, 46, 47, 200])
def test_the_file_comes_out_again_with_its_holes(count: int) -> None:
    content = parts(count)
    archive = content_bytes(plan_sparse_tar("disk.raw", content, timestamp=1_700_000_000))
    info, data = member(archive)
    assert data == content_bytes(content)
    assert (info.name, info.size, info.mtime) == ("disk.raw", content.size, 1_700_000_000)
    assert (info.uid, info.gid, info.uname, info.gname, info.mode) == (0, 0, "", "", 0o644)
    assert info.issparse()
    heads = 512 * (1 + max(0, -(-(count + 1 - 4) // 21)))
    assert len(archive) == heads + count * GRAIN + 1024


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 511, 4096, 5000, 20_000]), st.sampled_from([1, 512, 4096, 9001])
        ),
        max_size=8,
    ),
    st.sampled_from([0, 1, 4096]),
)
def test_any_extents_come_out_again(pieces: list[tuple[int, int]], rest: int) -> None:
    placed, position = [], 0
    for gap, length in pieces:
        placed.append((position + gap, Content.of_bytes(NOISE[:length])))
        position += gap + length
    content = Content.compose(position + rest, placed)
    plan = plan_sparse_tar("disk.raw", content, timestamp=0)
    assert plan.size % 512 == 0
    assert member(content_bytes(plan))[1] == content_bytes(content)


def test_numbers_from_8_gib_on() -> None:
    """Octal has room up to 8 GiB; offsets, lengths and sizes past it are binary."""
    end = 12 * GIB
    content = Content.compose(end, [(8 * GIB, Content.of_bytes(b"far"))])
    archive = content_bytes(plan_sparse_tar("disk.raw", content, timestamp=0))
    assert archive[257:265] == b"ustar  \0"
    assert archive[156:157] == b"S"
    entries = [archive[386 + at : 398 + at] for at in range(0, 96, 12)]
    assert entries[0] == b"\x80" + (8 * GIB).to_bytes(11, "big")
    assert entries[1] == b"00000010000\0"
    assert entries[2] == b"\x80" + end.to_bytes(11, "big")
    assert entries[3] == b"00000000000\0"
    assert entries[4:] == [bytes(12)] * 4
    assert archive[482:495] == b"\0\x80" + end.to_bytes(11, "big")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        file = tar.extractfile("disk.raw")
        assert file is not None
        file.seek(8 * GIB)
        assert file.read(5) == b"far\0\0"


def test_data_up_to_the_end_needs_no_entry_for_it() -> None:
    content = Content.of_bytes(NOISE[:5000])
    archive = content_bytes(plan_sparse_tar("disk.raw", content, timestamp=0))
    assert archive[386:410] == b"00000000000\0" + b"%011o\0" % 5000
    assert archive[410:482] == bytes(72)
    assert len(archive) == 512 + 5120 + 1024
