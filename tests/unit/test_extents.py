from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imager.content.extents import Codec, Content, Data, Extent, FileRange, StreamRange
from tests.lib.tools.support import content_bytes

# Contents with gaps before, between and behind their extents.
_PIECES = st.lists(st.tuples(st.integers(0, 9), st.binary(min_size=1, max_size=9)), max_size=6)


@st.composite
def contents(draw: st.DrawFn) -> Content:
    extents: list[Extent] = []
    position = 0
    for gap, data in draw(_PIECES):
        skipped = draw(st.integers(0, 3))
        source = Data(bytes(skipped) + data, skipped)
        extents.append(Extent(position + gap, len(data), source))
        position = extents[-1].end
    return Content(position + draw(st.integers(0, 9)), tuple(extents))


@given(contents(), st.data())
def test_a_slice_is_what_bytes_slicing_gives(content: Content, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, content.size))
    length = data.draw(st.integers(0, content.size - start))
    part = content.slice(start, length)
    assert part.size == length
    assert content_bytes(part) == content_bytes(content)[start : start + length]


@given(st.lists(contents(), max_size=5))
def test_concat_is_the_bytes_joined(parts: list[Content]) -> None:
    whole = Content.concat(parts)
    assert content_bytes(whole) == b"".join(map(content_bytes, parts))
    assert whole.data_size == sum(part.data_size for part in parts)


@given(contents(), st.lists(st.integers(0, 60), max_size=4))
def test_slices_that_adjoin_concat_to_the_whole(content: Content, cuts: list[int]) -> None:
    edges = sorted({0, content.size, *(cut for cut in cuts if cut < content.size)})
    parts = [content.slice(a, b - a) for a, b in itertools.pairwise(edges)]
    assert content_bytes(Content.concat(parts)) == content_bytes(content)


@given(contents(), contents(), st.integers(0, 20), st.integers(0, 20))
def test_compose_places_in_any_order(
    first: Content, second: Content, before: int, between: int
) -> None:
    place = before + first.size + between
    size = place + second.size + 5
    model = bytearray(size)
    model[before : before + first.size] = content_bytes(first)
    model[place : place + second.size] = content_bytes(second)
    forward = Content.compose(size, [(before, first), (place, second)])
    assert forward == Content.compose(size, [(place, second), (before, first)])
    assert content_bytes(forward) == bytes(model)


@given(contents(), st.integers(0, 100), st.integers(0, 100))
def test_nesting_is_the_same_as_placing_once(content: Content, inner: int, outer: int) -> None:
    nested = Content.compose(content.size + inner, [(inner, content)])
    size = nested.size + outer
    twice = Content.compose(size, [(outer, nested)])
    assert twice == Content.compose(size, [(inner + outer, content)])


@given(contents(), st.integers(0, 50))
def test_padding_adds_zeros(content: Content, more: int) -> None:
    padded = content.padded(content.size + more)
    assert content_bytes(padded) == content_bytes(content) + bytes(more)


def test_clipping_advances_every_kind_of_source() -> None:
    path = Path("f")
    for source, advanced in (
        (Data(b"0123456789", 1), Data(b"0123456789", 4)),
        (FileRange(path, 100), FileRange(path, 103)),
        (StreamRange(path, Codec.ZSTD, 7), StreamRange(path, Codec.ZSTD, 10)),
    ):
        extent = Extent(50, 6, source)
        assert extent.clipped(53, 55) == Extent(53, 2, advanced)
        assert extent.clipped(0, 99) == extent


def test_overlapping_extents_are_refused() -> None:
    one = Content.of_bytes(b"abc")
    with pytest.raises(ValueError, match="extent at 2 overlaps"):
        Content.compose(9, [(0, one), (2, one)])


def test_extents_past_the_size_are_refused() -> None:
    with pytest.raises(ValueError, match="past the size 4"):
        Content.compose(4, [(2, Content.of_bytes(b"abc"))])
    with pytest.raises(ValueError, match="past the size"):
        Content.of_bytes(b"abc").padded(2)


def test_empty_and_unsorted_extents_are_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        Content(5, (Extent(0, 0, Data(b"")),))
    with pytest.raises(ValueError, match="overlaps"):
        Content(5, (Extent(3, 1, Data(b"a")), Extent(0, 1, Data(b"a"))))
    with pytest.raises(ValueError, match="overlaps"):
        Content(5, (Extent(-1, 1, Data(b"a")),))


@pytest.mark.parametrize(("start", "length"), [(-1, 1), (0, 4), (4, 0), (1, 3), (1, -1)])
def test_slices_outside_are_refused(start: int, length: int) -> None:
    with pytest.raises(ValueError, match="outside of 3 bytes"):
        Content.of_bytes(b"abc").slice(start, length)


def test_empty_contents_have_no_extents(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    assert Content.of_bytes(b"") == Content.of_file(empty) == Content(0)
    assert Content.concat([]) == Content(0)


def test_a_file_is_one_extent_of_its_size(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert Content.of_file(path) == Content(5, (Extent(0, 5, FileRange(path, 0)),))
