"""A tree with odd names, in tars that `imager.content.tar` reads and writes."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from imager.content.extents import Content
from imager.content.tar import Keep, open_tar, plan_tar
from imager.content.tar_source import TarPlace
from imager.content.tree import File, Tree
from tests.lib.caches.caches import compress
from tests.lib.tools.support import content_bytes

LONG = "/".join(["folder" * 10] * 5) + "/" + "x" * 200
FILES = {
    "a": b"",
    "folder/b": random.Random("b").randbytes(512),
    "folder/inner/c": random.Random("c").randbytes(1_300_000),
    LONG: b"long",
    "folder/grüße": b"utf-8",
    "z": b"z" * 513,
}


def keep_all(_path: str, _size: int) -> bool:
    return True


def keep_nothing(_path: str, _size: int) -> bool:
    return False


def index_file(path: Path, *, keep: Keep = keep_nothing) -> Tree:
    return open_tar(TarPlace.of_file(path), keep=keep)


def index(data: bytes, path: Path) -> dict[str, bytes]:
    """Index `data` at `path`, plain and compressed; return what the plain one's ranges hold."""
    path.write_bytes(data)
    plain = {file.path: content_bytes(file.content) for file in index_file(path).files}
    path.write_bytes(compress(data, "gzip"))
    packed = {file.path: file.data for file in index_file(path, keep=keep_all).files}
    assert packed == plain
    return plain


def planned(files: Mapping[str, bytes]) -> Content:
    tree = [File(name, Content.of_bytes(data)) for name, data in files.items()]
    plan = plan_tar(Tree.of(tree), timestamp=1_700_000_000)
    whole = content_bytes(plan.content)
    for file in plan.files:
        assert whole[file.offset : file.offset + file.length] == files[file.path]
    return plan.content
