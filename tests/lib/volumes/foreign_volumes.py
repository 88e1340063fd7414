"""What tests of foreign volumes need: trees to put into them, reading them, and damaging them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import strategies as st

from imager.content.extents import FileRange
from imager.content.tree import File, Tree
from imager.support.errors import ImagerError
from tests.lib.tools.support import content_bytes

Opener = Callable[[Path], Tree]
Edit = tuple[int, bytes]
_INTERESTING = (b"\0", b"\xff", b"\1", b"\x7f", b"\x80", b"\xff" * 4, b"\0" * 4, b"\xff" * 8)


def write_tree(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write `files` below `folder`; what ends in a run of zeros gets a hole there."""
    for path, data in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            file.write(data.rstrip(b"\0"))
            file.truncate(len(data))
    return folder


def small_tree() -> dict[str, bytes]:
    """Return the files of a small tree: few bytes, and all kinds of names and sizes."""
    files = {f"imagecache/blob/sha256-{number:064x}": b"%d" % number * 700 for number in range(3)}
    files["imagecache/manifests/registry.local_5000_/team/img/reference/v1"] = b"{}"
    files["imagecache/manifests/registry.local_5000_/team/img/digest/sha256-00"] = b"{}"
    files["imagecache/empty"] = b""
    files["other/file"] = b"other"
    return files


def odd_tree(*, many: int = 700) -> dict[str, bytes]:
    """Return the files of a larger tree: deep folders, long names, holes, many pieces.

    One folder has `many` files.
    """
    files = small_tree()
    files["imagecache/" + "/".join("abcdefghijkl") + "/deep"] = b"deep" * 2000
    files["imagecache/" + "n" * 250] = b"long name"
    files["imagecache/gr\u00fc\u00dfe \u2713"] = b"letters"
    for number in range(many):
        files[f"imagecache/many/file-{number:04}-{'y' * 60}"] = b"%d" % number
    noise = random.Random("odd tree").randbytes(64 << 10)
    files["imagecache/hole"] = bytes(70_000) + noise[:5000] + bytes(90_001)
    # So many pieces that an extent tree has several levels.
    files["imagecache/pieces"] = (
        b"".join(noise[at : at + 4096] + bytes(4096) for at in range(0, 65536, 4096)) * 50
    )
    return files


def refusal_of(opener: Opener, path: Path) -> ImagerError:
    """Return the error, which names `path`, of reading the volume there."""
    with pytest.raises(ImagerError) as caught:
        opener(path)
    assert str(path) in caught.value.message
    return caught.value


def below(files: Mapping[str, bytes], folder: str) -> dict[str, bytes]:
    """Return the files below `folder`, by their paths inside it."""
    prefix = f"{folder}/"
    return {
        path.removeprefix(prefix): data for path, data in files.items() if path.startswith(prefix)
    }


def read(tree: Tree, folder: str = "") -> dict[str, bytes]:
    """Return the bytes of every file below `folder` of a tree that has nothing but files."""
    assert not tree.others
    files = tree.below(folder).files
    assert [file.path for file in files] == sorted({file.path for file in files})
    return {file.path: content_bytes(file.content) for file in files}


@dataclass(frozen=True)
class Image:
    """A small volume, and where its metadata are."""

    data: bytes
    offsets: list[int]


def metadata_offsets(image: bytes, files: Sequence[File]) -> list[int]:
    """Return the offsets in `image` of what is not zero and no file's data.

    A byte of zeros beside others counts too, since fields are wider than their numbers.
    """
    data = bytearray(len(image))
    for file in files:
        for extent in file.content.extents:
            assert isinstance(extent.source, FileRange)
            start = extent.source.offset
            data[start : start + extent.length] = b"\1" * extent.length
    return [
        offset
        for start in range(0, len(image), 8)
        if any(image[start : start + 8])
        for offset in range(start, start + 8)
        if not data[offset]
    ]


def edits(offsets: Sequence[int]) -> st.SearchStrategy[list[Edit]]:
    """Return a strategy for one to four overwritten places."""
    values = st.sampled_from(_INTERESTING) | st.binary(min_size=1, max_size=4)
    return st.lists(st.tuples(st.sampled_from(offsets), values), min_size=1, max_size=4)


def edited(image: bytes, changes: Sequence[Edit], path: Path) -> Path:
    """Write `image` with `changes` to `path`."""
    data = bytearray(image)
    for offset, value in changes:
        data[offset : offset + len(value)] = value
    path.write_bytes(data[: len(image)])
    return path


def survives(path: Path, opener: Opener) -> bool:
    """Whether the volume `path` can be read; if not, an ImagerError must say so.

    What is read must lie in the file, and be no more than its metadata can name.
    """
    try:
        files = opener(path).files
    except ImagerError as error:
        assert error.message
        return False
    size = path.stat().st_size
    paths = [file.path for file in files]
    assert len(set(paths)) == len(paths)
    for file in files:
        assert all(part not in ("", ".", "..") for part in file.path.split("/"))
        assert "\0" not in file.path
        assert file.content.size <= size
        for extent in file.content.extents:
            assert isinstance(extent.source, FileRange)
            assert extent.source.path == path
            assert 0 <= extent.source.offset <= size - extent.length
    return True


def patch(path: Path, offset: int, data: bytes) -> None:
    """Overwrite bytes of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def damage(path: Path, offset: int) -> None:
    """Invert a bit of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))
