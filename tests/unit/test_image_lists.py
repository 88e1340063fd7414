from __future__ import annotations

import io
from pathlib import Path

import pytest

from imager.errors import InputError
from imager.imagecache.lists import read_image_list, read_lines


def write(folder: Path, data: str | bytes) -> str:
    path = folder / "images.txt"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return str(path)


def test_comments_blank_lines_and_duplicates_are_welcome(tmp_path: Path) -> None:
    text = (
        "# images of the site\n\n"
        "  quay.io/a:v1  \n"
        "quay.io/b:v1 # the one that matters\n"
        "\t# another comment\n"
        "quay.io/a:v1\n"
        "#quay.io/no:v1\n"
        "quay.io/c:v1\t#tabs too\n"
        "alpine"
    )
    assert read_lines(write(tmp_path, text)) == (
        "quay.io/a:v1",
        "quay.io/b:v1",
        "quay.io/c:v1",
        "alpine",
    )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_kind(tmp_path: Path, end: str) -> None:
    assert read_lines(write(tmp_path, f"a:1{end}b:1{end}")) == ("a:1", "b:1")


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    assert read_lines(write(tmp_path, b"\xef\xbb\xbfa:1\n")) == ("a:1",)


def test_a_hash_inside_a_word_is_kept(tmp_path: Path) -> None:
    assert read_lines(write(tmp_path, "a#b\n")) == ("a#b",)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("# c\n\nquay.io/a:v1\n"))
    assert [str(reference) for reference in read_image_list("-")] == ["quay.io/a:v1"]


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_an_empty_list_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    with pytest.raises(InputError, match=r"there are no images in .*images.txt"):
        read_lines(write(tmp_path, text))
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    with pytest.raises(InputError, match="there are no images in standard input"):
        read_lines("-")


def test_a_list_that_cannot_be_read(tmp_path: Path) -> None:
    for source in (str(tmp_path / "gone"), str(tmp_path), write(tmp_path, b"\xff\xfe\x00")):
        with pytest.raises(InputError, match="cannot read the list of images"):
            read_lines(source)


def test_a_list_that_is_too_large(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too large for a list of images"):
        read_lines(write(tmp_path, "#" * ((8 << 20) + 1)))


def test_short_names_expand(tmp_path: Path) -> None:
    (reference,) = read_image_list(write(tmp_path, "alpine\n"))
    assert str(reference) == "docker.io/library/alpine:latest"


def test_every_bad_line_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_image_list(write(tmp_path, "quay.io/A:v1\nquay.io/ok:v1\nquay.io/b:!\n"))
    assert "quay.io/A:v1" in caught.value.message
    assert "quay.io/b:!" in caught.value.message
    assert "quay.io/ok" not in caught.value.message


def test_the_names_of_images_from_anywhere(tmp_path: Path) -> None:
    lines = [
        "docker://alpine",
        "a.example/b:v1=oci:./layout:v9",
        "a.example/c:v2=docker://x.example/y",
    ]
    found = read_image_list(write(tmp_path, "\n".join(lines)))
    assert [str(each) for each in found] == [
        "docker.io/library/alpine:latest",
        "a.example/b:v1",
        "a.example/c:v2",
    ]
    with pytest.raises(InputError, match=r"'oci-archive:a\.tar' does not name its image"):
        read_image_list(write(tmp_path, "alpine\noci-archive:a.tar\n"))
