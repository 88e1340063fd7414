from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from imager.content.extents import Codec, FileRange, StreamRange
from imager.content.tar import open_tar, read_tar_headers
from imager.content.tar_source import TarPlace
from imager.content.tree import Tree
from imager.support.errors import InputError
from tests.lib.caches.caches import compress, tar_bytes
from tests.lib.tools.examples import examples
from tests.lib.tools.support import content_bytes
from tests.lib.tools.tars import FILES, LONG, index, index_file, planned

CODECS = pytest.mark.parametrize("codec", [None, "gzip", "zstd"])
FORMATS = pytest.mark.parametrize("format_", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


@FORMATS
def test_archives_of_pythons_tarfile(tmp_path: Path, format_: int) -> None:
    assert index(tar_bytes(FILES, format=format_), tmp_path / "t") == FILES


@CODECS
def test_members_lie_where_the_archive_has_them(tmp_path: Path, codec: str | None) -> None:
    path = tmp_path / "t"
    data = tar_bytes(FILES)
    path.write_bytes(compress(data, codec))
    for member in index_file(path, keep=lambda name, size: name == "z" and size == 513).files:
        wanted = FILES[member.path]
        assert member.content.size == len(wanted)
        for extent in member.content.extents:
            source = extent.source
            assert isinstance(source, FileRange if codec is None else StreamRange)
            assert data[source.offset : source.offset + extent.length] == wanted
            if isinstance(source, StreamRange):
                assert source.codec is Codec(codec)
        assert member.data == (wanted if codec and member.path == "z" else None)


@CODECS
def test_an_archive_of_nothing(tmp_path: Path, codec: str | None) -> None:
    (tmp_path / "t").write_bytes(compress(bytes(10240), codec))
    assert index_file(tmp_path / "t") == Tree.of()


def raw(name: str, data: bytes = b"", **fields: object) -> bytes:
    """Return one member with its header's `fields` set."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT) + data.ljust(-(-len(data) // 512) * 512, b"\0")


def pax(data: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return raw("pax", data, type=kind)


def record(text: bytes) -> bytes:
    length = len(text) + 3
    return b"%d %s\n" % (length + (length >= 10), text)


END = bytes(1024)
GOOD = raw("good", b"good")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (raw("../evil", b"x"), "not a relative path"),
        (raw("a/../../evil", b"x"), "not a relative path"),
        (raw("/etc/passwd", b"x"), "not a relative path"),
        (raw("a//b", b"x"), "not a relative path"),
        (raw("a/./b", b"x"), "not a relative path"),
        (raw("..", type=tarfile.DIRTYPE), "not a relative path"),
        (raw("good", b"other"), "two files 'good'"),
        (raw("./good", b"other"), "two files 'good'"),
        (raw("x" * 256, b"x"), "is too long"),
        (raw("/".join(["x" * 200] * 21)[:-1], b"x"), "is too long"),
        (raw("line\nbreak", b"x"), "is not a name"),
        (raw("escape\x1b[31m", b"x"), "is not a name"),
        (raw("bad\udcff", b"x"), "is not a name"),
        (raw("negative", size=-512), "."),
        (raw("immense", size=1 << 86), "."),
        (pax(record(b"path=../evil")) + raw("a", b"x"), "not a relative path"),
        (pax(record(b"size=-512")) + raw("a", b"x"), "."),
        (pax(b"x" * (2 << 20)) + raw("a", b"x"), "a header of"),
        (raw("././@LongLink", b"x" * (2 << 20), type=tarfile.GNUTYPE_LONGNAME), "a header of"),
        (raw("././@LongLink", type=tarfile.GNUTYPE_LONGNAME, size=-512), "not a whole tar"),
        (
            b"".join(raw("l", b"x", type=tarfile.GNUTYPE_LONGNAME) for _ in range(3000)),
            "not a whole",
        ),
        (b"".join(pax(record(b"path=y")) for _ in range(3000)), "not a whole tar"),
        (
            pax(record(b"GNU.sparse.major=1") + record(b"GNU.sparse.minor=0"))
            + raw("sparse", b"not numbers"),
            ".",
        ),
    ],
)
@CODECS
def test_hostile_members_are_refused(
    tmp_path: Path, data: bytes, why: str, codec: str | None
) -> None:
    (tmp_path / "t").write_bytes(compress(GOOD + data + END, codec))
    with pytest.raises(InputError, match=why):
        index_file(tmp_path / "t")
    (tmp_path / "t").write_bytes(compress(data + GOOD + END, codec))
    with pytest.raises(InputError, match=why):
        index_file(tmp_path / "t")


@pytest.mark.parametrize(
    "data",
    [
        raw("odd", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        raw("odd", type=tarfile.LNKTYPE, linkname="good"),
        raw("odd", type=tarfile.BLKTYPE),
        raw("odd", type=tarfile.CHRTYPE),
        raw("odd", type=tarfile.FIFOTYPE),
        raw("odd", type=b"V"),
        raw("odd", type=tarfile.GNUTYPE_SPARSE),
        pax(record(b"linkpath=x")) + raw("odd", type=tarfile.SYMTYPE),
    ],
)
@CODECS
def test_what_is_no_file_is_named_alone(tmp_path: Path, data: bytes, codec: str | None) -> None:
    (tmp_path / "t").write_bytes(compress(data + GOOD + END, codec))
    found = index_file(tmp_path / "t")
    assert [file.path for file in found.files] == ["good"]
    assert found.others == ("odd",)


# Of an archive of two files with 600 and 100 bytes.
DATA_END, BLOCK_END = 512 + 1024 + 512 + 100, 512 + 1024 + 512 + 512
SMALL = {"a": b"a" * 600, "b/c": b"", "b/d": b"d" * 512}


@FORMATS
@CODECS
def test_truncation_at_every_block_is_told(tmp_path: Path, format_: int, codec: str | None) -> None:
    data = tar_bytes({**SMALL, LONG: b"x"}, format=format_)
    used = len(data.rstrip(b"\0"))
    used += -used % 512
    for size in range(0, used + 1, 512):
        (tmp_path / "t").write_bytes(compress(data[:size], codec))
        with pytest.raises(InputError, match="is not a whole tar archive") as caught:
            index_file(tmp_path / "t")
        assert "copy it again" in caught.value.hint
    (tmp_path / "t").write_bytes(compress(data[: used + 1024], codec))
    assert len(index_file(tmp_path / "t").files) == 4


@pytest.mark.parametrize(
    ("end", "is_whole"),
    [
        (DATA_END - 100, False),
        (DATA_END - 1, False),
        (DATA_END, True),
        (DATA_END + 1, True),
        (BLOCK_END - 1, True),
        (BLOCK_END, True),
        (BLOCK_END + 100, False),
        (BLOCK_END + 512, True),
        (BLOCK_END + 1024, True),
    ],
)
@CODECS
def test_a_blob_of_known_size_ends_as_for_go(
    tmp_path: Path, end: int, is_whole: bool, codec: str | None
) -> None:
    """Anywhere behind the data of the last file, but not within a header (Go, archive/tar)."""
    path, packed = (
        tmp_path / "t",
        compress(tar_bytes({"a": b"a" * 600, "b": b"b" * 100})[:end], codec),
    )
    path.write_bytes(packed + b"another blob")
    source = StreamRange(path, Codec(codec), length=len(packed)) if codec else FileRange(path)
    place = TarPlace(source, None if codec else len(packed))
    if is_whole:
        assert [file.path for file in open_tar(place).files] == ["a", "b"]
        assert [header.name for header in read_tar_headers(place)] == ["a", "b"]
        return
    with pytest.raises(InputError, match="is not a whole tar archive"):
        open_tar(place)
    with pytest.raises(InputError, match="is not a whole tar archive"):
        list(read_tar_headers(place))


@CODECS
def test_a_damaged_header_in_the_middle_is_told(tmp_path: Path, codec: str | None) -> None:
    data = bytearray(tar_bytes(SMALL))
    place = bytes(data).index(b"b/d")
    data[place] ^= 1
    with tarfile.open(fileobj=io.BytesIO(data)) as lenient:
        assert len(lenient.getnames()) < 4  # what tarfile's own loop makes of it: no error
    (tmp_path / "t").write_bytes(compress(bytes(data), codec))
    with pytest.raises(InputError, match="is not a whole tar archive"):
        index_file(tmp_path / "t")


@pytest.mark.parametrize("data", [b"", b"no archive at all", b"x" * 10240, b"\x1f\x8bno gzip"])
def test_what_is_no_archive(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "t").write_bytes(data)
    with pytest.raises(InputError, match="is not a whole"):
        index_file(tmp_path / "t")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(75))
@given(
    changes=st.dictionaries(st.integers(0, 6000), st.integers(0, 255), max_size=4),
    format_=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
@example(changes={}, format_=tarfile.PAX_FORMAT)
def test_damage_anywhere_is_told_or_harmless(
    tmp_path: Path, changes: Mapping[int, int], format_: int
) -> None:
    data = bytearray(tar_bytes({**SMALL, LONG: b"x"}, format=format_))
    for place, value in changes.items():
        data[place % len(data)] = value
    (tmp_path / "t").write_bytes(data)
    try:
        members = index_file(tmp_path / "t").files
    except InputError:
        return
    for member in members:
        assert ".." not in member.path.split("/")
        assert len(content_bytes(member.content)) == member.content.size


def test_a_planned_archive_is_read_back(tmp_path: Path) -> None:
    assert index(content_bytes(planned(FILES)), tmp_path / "t") == FILES
    assert content_bytes(planned({})) == bytes(1024)


def test_a_planned_archive_is_the_same_each_time() -> None:
    assert planned(FILES) == planned(FILES)
