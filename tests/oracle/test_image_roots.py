"""The files of an image as umoci unpacks it: layers, whiteouts, links, made at random."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from imager.content.reading import read_content
from imager.content.tree import Link
from imager.oci.layout import Layout
from imager.oci.platform import Platform
from imager.oci.rootfs import ImageRoot
from tests.lib.registries.made_images import FOLDER, Files, MadeImage, Member, hard, link

pytestmark = pytest.mark.oracle

FOLDERS, LINKS, FILES = ("a", "b", "lib"), ("l", "m"), ("x", "y", "z")
SEEDS = 40


def folder(rng: random.Random) -> str:
    """Return the path of a folder, with a slash, or the empty path of the root."""
    return "".join(f"{name}/" for name in rng.choices((*FOLDERS, *LINKS), k=rng.randrange(4)))


def member(rng: random.Random, files: list[str]) -> tuple[str, bytes | Member]:
    place, name = folder(rng), rng.choice(FILES)
    match rng.randrange(10):
        case 0:
            return place + rng.choice(FOLDERS), FOLDER
        case 1 | 2:
            start = rng.choice(("/", "", "../", "../../../"))
            return place + rng.choice(LINKS), link(start + folder(rng) + rng.choice(FOLDERS))
        case 3:
            return f"{place}.wh.{rng.choice((*FOLDERS, *LINKS, *FILES))}", b""
        case 4 if place:
            return f"{place}.wh..wh..opq", b""
        case 5 if files:
            return place + name, hard(rng.choice(files))
        case 6 if rng.randrange(5) == 0:
            return place + rng.choice(FOLDERS), rng.randbytes(3)
    files.append(place + name)
    return place + name, rng.randbytes(rng.randrange(20))


def random_layer(rng: random.Random) -> Files:
    """Return a layer, whiteouts first: the specification recommends that, and umoci needs it."""
    files: list[str] = []
    members = [member(rng, files) for _ in range(rng.randrange(1, 12))]
    return sorted(members, key=lambda each: ".wh." not in each[0])


def unpacked(root: Path) -> Iterator[tuple[str, bytes | str]]:
    """Yield the files and links in a folder, by their paths."""
    for path in root.rglob("*"):
        if path.is_symlink():
            yield str(path.relative_to(root)), str(path.readlink())
        elif path.is_file():
            yield str(path.relative_to(root)), path.read_bytes()


def test_umoci_sees_the_same_files(tmp_path: Path) -> None:
    agreed = 0
    for seed in range(SEEDS):
        rng = random.Random(seed)
        layers = [random_layer(rng) for _ in range(rng.randrange(1, 5))]
        codecs = rng.choices((None, "gzip"), k=len(layers))
        layout = MadeImage.of(layers, codecs=codecs).write_layout(tmp_path / f"{seed}")
        bundle = tmp_path / f"bundle{seed}"
        argv = ("umoci", "unpack", "--rootless", "--image", f"{layout}:v1", bundle)
        if subprocess.run(argv, capture_output=True, check=False).returncode:
            continue  # such as a file in the place of a folder that has no entry
        agreed += 1
        source = Layout.open(layout).select()
        image = ImageRoot.open(
            source, Platform("linux", "amd64"), where="x", fetch=source.blob_content
        )
        tree = image.files().tree()
        links = {node.path: node.target for node in tree.nodes if isinstance(node, Link)}
        files = {file.path: read_content(file.content) for file in tree.files}
        assert dict(unpacked(bundle / "rootfs")) == files | links, (seed, layers)
        folders = {
            str(path.relative_to(bundle / "rootfs"))
            for path in (bundle / "rootfs").rglob("*")
            if path.is_dir() and not path.is_symlink()
        }
        assert folders == set(tree.folders), (seed, layers)
    assert agreed > SEEDS / 2
