from __future__ import annotations

import io
from pathlib import Path

import pytest

from imager.cache.lists import read_entries, read_image_list
from imager.oci.errors import InvalidReferenceError
from imager.support.errors import InputError


def give(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


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
    assert tuple(read_entries([write(tmp_path, text)])) == (
        "quay.io/a:v1",
        "quay.io/b:v1",
        "quay.io/c:v1",
        "alpine",
    )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_kind(tmp_path: Path, end: str) -> None:
    assert tuple(read_entries([write(tmp_path, f"a:1{end}b:1{end}")])) == ("a:1", "b:1")


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    assert tuple(read_entries([write(tmp_path, b"\xef\xbb\xbfa:1\n")])) == ("a:1",)


def test_a_hash_inside_a_word_is_kept(tmp_path: Path) -> None:
    assert tuple(read_entries([write(tmp_path, "a:1=oci:b#c\n")])) == ("a:1=oci:b#c",)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "# c\n\nquay.io/a:v1\n")
    assert [str(reference) for reference in read_image_list(["-"])] == ["quay.io/a:v1"]


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_an_empty_list_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    with pytest.raises(InputError, match=r"there are no images in .*images.txt"):
        read_entries([write(tmp_path, text)])
    give(monkeypatch, text)
    with pytest.raises(InputError, match="there are no images in standard input"):
        read_entries(["-"])


def test_a_list_that_cannot_be_read(tmp_path: Path) -> None:
    for source in (str(tmp_path), write(tmp_path, b"\xff\xfe\x00")):
        with pytest.raises(InputError, match="cannot read the list of images"):
            read_entries([source])


def test_a_list_that_is_too_large(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too large for a list of images"):
        read_entries([write(tmp_path, "#" * ((8 << 20) + 1))])


def test_short_names_expand(tmp_path: Path) -> None:
    (reference,) = read_image_list([write(tmp_path, "alpine\n")])
    assert str(reference) == "docker.io/library/alpine:latest"


def test_every_bad_line_is_named_with_its_place(tmp_path: Path) -> None:
    path = write(tmp_path, "# of the site\nquay.io/A:v1\nquay.io/ok:v1\nquay.io/b:!\n")
    with pytest.raises(InvalidReferenceError) as caught:
        read_image_list([path, "quay.io/C:v1"])
    first, *problems = caught.value.message.split("\n")
    assert first == "3 entries of the image list are invalid:"
    assert problems[0].startswith(f"  {path}:2: image reference 'quay.io/A:v1': ")
    assert problems[1].startswith(f"  {path}:4: image reference 'quay.io/b:!': ")
    assert problems[2].startswith("  image reference 'quay.io/C:v1': ")
    assert caught.value.hint


def test_entries_come_with_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "\nd:1\na:1\n")
    path = write(tmp_path, "b:1\n\n# c\nc:1\n")
    assert read_entries(["a:1", path, "-"]) == {
        "a:1": "",
        "b:1": f"{path}:1",
        "c:1": f"{path}:4",
        "d:1": "standard input:2",
    }


def test_lists_merge_in_their_order_without_duplicates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(monkeypatch, "d:1\na:1\n")
    path = write(tmp_path, "b:1\nc:1\n")
    assert tuple(read_entries(["c:1,a:1", path, "-"])) == ("c:1", "a:1", "b:1", "d:1")


@pytest.mark.parametrize(
    ("written", "entries"),
    [
        (
            "registry.k8s.io/pause:3.10,ghcr.io/x/y:v1",
            ("registry.k8s.io/pause:3.10", "ghcr.io/x/y:v1"),
        ),
        (" a:1 ,, b:1,", ("a:1", "b:1")),
        ("nginx:1.27", ("nginx:1.27",)),
        ("docker://nginx,dir:x", ("docker://nginx", "dir:x")),
        (f"quay.io/a@sha256:{'0' * 64}", (f"quay.io/a@sha256:{'0' * 64}",)),
        (
            "quay.io/a:v1=oci:folder,docker-archive:x.tar",
            ("quay.io/a:v1=oci:folder", "docker-archive:x.tar"),
        ),
        (
            ",".join(f"quay.io/a:{n}" for n in range(2000)),
            tuple(f"quay.io/a:{n}" for n in range(2000)),
        ),
    ],
    ids=["two", "blanks", "short", "source", "digest", "local", "long"],
)
def test_entries_on_the_command_line(written: str, entries: tuple[str, ...]) -> None:
    assert tuple(read_entries([written])) == entries


def test_a_file_is_a_list_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nginx:1").write_text("in/the/file:1\n")
    (tmp_path / "a,b").write_text("comma:1\n")
    assert tuple(read_entries(["nginx:1", "a,b"])) == ("in/the/file:1", "comma:1")
    (tmp_path / "quay.io" / "a:1").mkdir(parents=True)
    assert tuple(read_entries(["quay.io/a:1"])) == ("quay.io/a:1",)


@pytest.mark.parametrize(
    "name", ["images.txt", "site.d/images", "./gone", "/gone", "nginx", "a:1,b"]
)
def test_a_name_without_a_tag_is_no_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A misspelt path must not be pulled from Docker Hub."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=r"is neither an image list file nor a reference"
    ) as caught:
        read_entries([name])
    assert caught.value.hint.startswith("check the path")


def test_the_hint_writes_the_reference_out() -> None:
    with pytest.raises(InputError) as caught:
        read_entries(["nginx"])
    assert caught.value.hint == ("check the path, or add the tag: docker.io/library/nginx:latest")


def test_the_names_of_images_from_anywhere(tmp_path: Path) -> None:
    lines = [
        "docker://alpine",
        "a.example/b:v1=oci:./layout:v9",
        "a.example/c:v2=docker://x.example/y",
    ]
    found = read_image_list([write(tmp_path, "\n".join(lines))])
    assert [str(each) for each in found] == [
        "docker.io/library/alpine:latest",
        "a.example/b:v1",
        "a.example/c:v2",
    ]
    with pytest.raises(InputError, match=r":2: 'oci-archive:a\.tar' does not name its image"):
        read_image_list([write(tmp_path, "alpine\noci-archive:a.tar\n")])
