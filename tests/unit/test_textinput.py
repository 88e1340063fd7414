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
    [(b"", ""), (b"a\r\nb", "a\nb"), (b"\xef\xbb\xbf\xc3\xa4", "ä"), (b"\xc3\xa4" * 4, "ääää")],
)
def test_a_file(tmp_path: Path, data: bytes, text: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    assert read_input(str(path), what="letter", limit=4) == text


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("abcd"))
    assert read_input("-", what="letter", limit=4) == "abcd"


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
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff"), "utf-8"))
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
    path.write_bytes(b"abcde")
    assert refused(str(path)) == f"{path} is too large for a letter: more than 4 B"
    monkeypatch.setattr("sys.stdin", io.StringIO("abcde"))
    assert refused("-") == "standard input is too large for a letter: more than 4 B"
