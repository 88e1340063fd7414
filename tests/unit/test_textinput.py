"""Text from files and standard input, bounded and without a stack of decoders' words."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from imager.support.errors import InputError
from imager.support.inputs import read_input


def refused(source: str) -> str:
    with pytest.raises(InputError) as caught:
        read_input(source, what="letter", limit=4)
    return caught.value.message


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"a\r\nb", "a\r\nb"),
        (b"\xef\xbb\xbf\xc3\xa4", "ä"),
        (b"\xf0\x9f\xa6\x8a" * 4, "🦊" * 4),
    ],
)
def test_a_file_and_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, text: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    given(monkeypatch, data)
    for source in (str(path), "-"):
        assert read_input(source, what="letter", limit=4) == text
    assert read_input(str(path), what="letter", limit=5, exact=True).encode() == data


def given(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Let `data` be on standard input, which has another encoding and other line ends."""
    stream = io.TextIOWrapper(io.BytesIO(data), "ascii", newline=None)
    monkeypatch.setattr("sys.stdin", stream)


@pytest.mark.parametrize(
    ("name", "why"),
    [("gone", "No such file or directory"), (".", "Is a directory"), ("a\0b", "embedded null")],
)
def test_what_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refused(name)
    assert message.startswith(f"cannot read the letter {name}: {why}")
    assert "Errno" not in message


def test_what_is_not_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"ab\xff")
    assert (
        refused(str(path))
        == f"cannot read the letter {path}: it is not UTF-8: invalid byte at offset 2"
    )
    given(monkeypatch, b"\xff")
    assert (
        refused("-")
        == "cannot read the letter on standard input: it is not UTF-8: invalid byte at offset 0"
    )


def test_what_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a\0b")
    assert (
        refused(str(path))
        == f"cannot read the letter {path}: it is not text: it contains NUL bytes"
    )


def test_what_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    # The longest that is read ends within a character.
    for data in (b"abcde", b"a" + "🦊".encode() * 9):
        path.write_bytes(data)
        assert refused(str(path)) == f"{path} is too large for a letter: more than 4 B"
        given(monkeypatch, data)
        assert refused("-") == "standard input is too large for a letter: more than 4 B"
