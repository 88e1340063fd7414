"""The files of an image out of its layers: OCI image specification 1.1, layer.md."""

from __future__ import annotations

import gzip
import random
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from imager.content.extents import Content
from imager.content.reading import read_content
from imager.content.tree import Device, Link
from imager.content.unpack import write_files
from imager.oci import layerfiles
from imager.oci.errors import InvalidImageError
from imager.oci.layerfiles import layer_entries
from imager.oci.layout import Layout
from imager.oci.manifest import Descriptor
from imager.oci.platform import Platform
from imager.oci.rootfs import ImageRoot
from imager.oci.roottree import RootTree
from imager.support.errors import InputError
from tests.lib.caches.caches import dump, image_index, sha256
from tests.lib.registries.made_images import FOLDER, Files, MadeImage, Member, hard, layer, link

AMD64 = Platform("linux", "amd64")


def root_of(folder: Path, *layers: Files) -> RootTree:
    """Return the file system of layers, base first."""
    entries = []
    for number, files in enumerate(layers):
        path = folder / f"layer{number}"
        path.write_bytes(layer(files))
        entries.append(layer_entries(Content.of_file(path), where=f"layer {number}"))
    return RootTree.of(entries)


def files_of(root: RootTree) -> dict[str, bytes]:
    return {file.path: read_content(file.content) for file in root.tree().files}


def data(root: RootTree, path: str) -> bytes | None:
    file = root.find(path)
    return None if file is None else read_content(file.content)


@pytest.mark.parametrize(
    ("layers", "files"),
    [
        # What is higher wins, whole file by whole file.
        ([{"a": b"1", "b": b"1"}, {"a": b"2"}], {"a": b"2", "b": b"1"}),
        ([{"a": b"1"}, {"a": b"2"}, {"a": b"3"}], {"a": b"3"}),
        # Whiteouts remove files and whole folders, and nothing beside them.
        ([{"d/a": b"1", "d/b": b"1"}, {"d/.wh.a": b""}], {"d/b": b"1"}),
        ([{"d/a": b"1", "da": b"1"}, {".wh.d": b""}], {"da": b"1"}),
        ([{"d/e/a": b"1"}, {".wh.d": b""}, {"d/b": b"2"}], {"d/b": b"2"}),
        ([{"a": b"1"}, {".wh.a": b""}, {"a": b"3"}], {"a": b"3"}),
        ([{"b": b"1"}, {".wh.a": b"", "x/.wh.y": b""}], {"b": b"1"}),
        # Those of a layer say nothing about the layer itself, wherever in it they are.
        ([{"a": b"1"}, {"a": b"2", ".wh.a": b""}], {"a": b"2"}),
        ([{"d/a": b"1"}, {"d/b": b"2", "d/.wh..wh..opq": b""}], {"d/b": b"2"}),
        ([{"d/e/a": b"1", "f": b"1"}, {"d/.wh..wh..opq": b""}], {"f": b"1"}),
        ([{"a": b"1"}, {".wh..wh..opq": b"", "b": b"2"}], {"b": b"2"}),
        ([{"a": b"1"}, {".wh..wh.plnk": b""}], {"a": b"1"}),
        # A file takes the place of a folder, and the other way round.
        ([{"d/a": b"1"}, {"d": b"2"}], {"d": b"2"}),
        ([{"d": b"1"}, {"d/a": b"2"}], {"d/a": b"2"}),
        ([{"d/a": b"1"}, {"d": FOLDER}], {"d/a": b"1"}),
        # Of two members of a name, the last one counts.
        ([[("a", b"1"), ("a", b"2")]], {"a": b"2"}),
        # Names may begin in these ways.
        ([{"./a": b"1", "/b": b"", "./": FOLDER, "c//d": b""}], {"a": b"1", "b": b"", "c/d": b""}),
    ],
)  # fmt: skip
def test_layers_are_applied(
    tmp_path: Path, layers: Sequence[Files], files: dict[str, bytes]
) -> None:
    assert files_of(root_of(tmp_path, *layers)) == files


def test_folders_of_a_layer_below_may_be_links(tmp_path: Path) -> None:
    """As on any merged /usr: what is put into /lib is then in /usr/lib."""
    base: Files = {"usr/lib": FOLDER, "lib": link("usr/lib"), "gone": link("/usr/lib")}
    root = root_of(tmp_path, base, {"lib/a": b"2", "lib/b": b"2"}, {"gone/.wh.b": b""})
    assert files_of(root) == {"usr/lib/a": b"2"}
    assert data(root, "lib/a") == data(root, "/lib/../../gone/./a") == b"2"
    # A folder of its own replaces the link.
    assert files_of(root_of(tmp_path, base, {"lib": FOLDER, "lib/a": b"2"})) == {"lib/a": b"2"}


@pytest.mark.parametrize(
    "target", ["/real/a", "real/a", "../../../real/a", "/../real/a", "d/../real/a", "in", "abs/a"]
)
def test_links_are_followed_inside_of_the_root(tmp_path: Path, target: str) -> None:
    inner, absolute = link("real//a"), link("/real/")
    files: Files = {"real/a": b"1", "d": FOLDER, "in": inner, "abs": absolute, "l": link(target)}
    root = root_of(tmp_path, files)
    assert data(root, "l") == b"1"
    assert Link("l", target) in root.tree().nodes


def test_links_in_folders(tmp_path: Path) -> None:
    """A relative target starts in the folder of the link, an absolute one at the root."""
    files: Files = {
        "a": b"root",
        "d/a": b"folder",
        "d/l": link("a"),
        "d/m": link("/a"),
        "d/n": link("../a"),
    }
    root = root_of(tmp_path, files)
    assert [data(root, f"d/{name}") for name in "lmn"] == [b"folder", b"root", b"root"]


def test_links_to_the_machine_lead_nowhere(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"secret")
    files: Files = {
        "a": link(str(mine)),
        "b": link("../" * 30 + str(mine)),
        "c": hard("etc/hostname"),
    }
    root = root_of(tmp_path, files)
    assert [data(root, name) for name in "abc"] == [None] * 3
    assert root.tree().others == ("c",)


@pytest.mark.parametrize("target", ["a", "b/..", "/a/a"])
def test_loops_of_links(tmp_path: Path, target: str) -> None:
    root = root_of(tmp_path, {"a": link(target), "b": link("a")})
    with pytest.raises(InputError, match="more than 40 links"):
        root.find("a/x")
    with pytest.raises(InputError, match="more than 40 links"):
        root_of(tmp_path, {"a": link(target), "b": link("a")}, {"a/x": b""})


def test_hard_links(tmp_path: Path) -> None:
    base: Files = {"a": b"1", "s": link("a")}
    root = root_of(tmp_path, base, {"b": hard("a"), "t": hard("/s")}, {"a": b"3"})
    # The other name keeps the old file.
    assert files_of(root) == {"a": b"3", "b": b"1"}
    assert data(root, "t") == b"3"
    # Of the upper layers alone, it is not known yet.
    assert data(root_of(tmp_path, {"b": hard("a")}), "b") is None


def test_what_is_not_a_file(tmp_path: Path) -> None:
    files: Files = {
        "null": Member(tarfile.CHRTYPE),
        "disk": Member(tarfile.BLKTYPE),
        "pipe": Member(tarfile.FIFOTYPE),
        "d": FOLDER,
    }
    root = root_of(tmp_path, files)
    tree = root.tree()
    assert (tree.files, tree.folders) == ((), ("d",))
    assert tree.nodes == (Device("null", 1, 3),)
    assert tree.others == ("disk", "pipe")
    assert [data(root, name) for name in ("null", "disk", "pipe", "d", "d/x")] == [None] * 5
    assert root.names("") == ("d", "disk", "null", "pipe")
    assert root.names("null") == root.names("none") == ()


@pytest.mark.parametrize(
    "files",
    [
        {"../a": b""}, {"a/../../b": b""}, {"a/../b": b""}, {"/..": FOLDER},
        {"a": hard("../b")}, {".wh...": b""}, {".wh..": b""}, {".wh.": b""},
        {"a/" * 256: FOLDER}, {"x" * 5000: b""}, {"a": link("x" * 5000)},
    ],
)  # fmt: skip
def test_hostile_names(tmp_path: Path, files: Files) -> None:
    with pytest.raises(InvalidImageError, match=r"^layer 0") as caught:
        root_of(tmp_path, files)
    assert len(caught.value.message) < 200
    assert "pull or save it again" in caught.value.hint


def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sizes in headers are judged before anything is decompressed."""
    header = tarfile.TarInfo("zeros")
    header.size = 1 << 40
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20), mtime=0))
    with pytest.raises(InvalidImageError, match="larger than 32 GiB when decompressed"):
        layer_entries(Content.of_file(path), where="bomb")
    monkeypatch.setattr(layerfiles, "_MOST_ENTRIES", 3)
    root_of(tmp_path, dict.fromkeys("abc", b""))
    with pytest.raises(InvalidImageError, match="more than 3 entries"):
        root_of(tmp_path, dict.fromkeys("abcd", b""))


@pytest.mark.parametrize("codec", [None, "gzip", "zstd"])
def test_damaged_layers_are_named(tmp_path: Path, codec: str | None) -> None:
    whole = layer({"a": random.Random(1).randbytes(50_000)}, codec=codec)
    for broken in (whole[:20_000], b"", b"no tar at all" * 100):
        path = tmp_path / "layer"
        path.write_bytes(broken)
        with pytest.raises(InputError, match=r"^image: layer") as caught:
            layer_entries(Content.of_file(path), where="image: layer")
        assert str(path) not in caught.value.message


@dataclass
class Opened:
    """An image and the layers that were asked for."""

    image: ImageRoot
    fetched: list[int]


def opened(layout: Path, platform: Platform = AMD64) -> Opened:
    source = Layout.open(layout).select(platform=platform)
    fetched: list[int] = []

    def fetch(blob: Descriptor) -> Content:
        fetched.append(image.layers.index(blob))
        return source.blob_content(blob)

    image = ImageRoot.open(source, platform, where="image", fetch=fetch)
    return Opened(image, fetched)


LAYERS: list[Files] = [{"low": b"0", "a": b"0"}, {"mid": b"1"}, {"a": b"2", ".wh.low": b""}]


def test_layers_are_fetched_from_the_top_as_needed(tmp_path: Path) -> None:
    made = MadeImage.of(LAYERS, codecs=["gzip", "zstd", None], labels={"a": "b"})
    layout = made.write_layout(tmp_path / "layout")
    for path, fetched in {"a": [2], "mid": [2, 1], "low": [2, 1, 0]}.items():
        found = opened(layout)
        top = next((top for top in found.image.tops() if top.find(path)), None)
        assert (top is None) == (path == "low")
        assert found.fetched == fetched
    assert files_of(opened(layout).image.files()) == {"a": b"2", "mid": b"1"}
    image = opened(layout).image
    assert (image.labels, image.platform) == ({"a": "b"}, AMD64)
    assert str(image.root) == f"sha256:{sha256(made.manifest)}"


def test_files_are_written_in_one_pass(tmp_path: Path) -> None:
    rng = random.Random("files")
    files = {f"f{number}": rng.randbytes(rng.randrange(200_000)) for number in range(20)}
    layers: list[Files] = [files, {"empty": b""}]
    for codec in (None, "gzip", "zstd"):
        made = MadeImage.of(layers, codecs=[codec, codec])
        image = opened(made.write_layout(tmp_path / f"layout-{codec}")).image
        target = tmp_path / f"out-{codec}"
        target.mkdir()
        write_files({target / file.path: file.content for file in image.files().tree().files})
        written = {path.name: path.read_bytes() for path in target.iterdir()}
        assert written == {**files, "empty": b""}


def layout_of(folder: Path, entries: Sequence[object], *images: MadeImage) -> Path:
    for number, image in enumerate(images):
        image.write_layout(folder / str(number))
    blobs = folder / "0/blobs/sha256"
    for path in folder.glob("[1-9]/blobs/sha256/*"):
        (blobs / path.name).write_bytes(path.read_bytes())
    (folder / "0/index.json").write_bytes(image_index(entries))
    return folder / "0"


def test_the_platform_is_chosen(tmp_path: Path) -> None:
    images = {arch: MadeImage.of([{arch: b""}], arch=arch) for arch in ("arm64", "amd64")}
    entries = [image.entry(arch) for arch, image in images.items()]
    layout = layout_of(tmp_path, entries, *images.values())
    for arch in images:
        assert list(files_of(opened(layout, Platform("linux", arch)).image.files())) == [arch]
    # An index as the only entry, which is how skopeo copies all of an image.
    index = image_index(entries)
    (layout / "blobs/sha256" / sha256(index)).write_bytes(index)
    kind = "application/vnd.oci.image.index.v1+json"
    entry = {"mediaType": kind, "digest": f"sha256:{sha256(index)}", "size": len(index)}
    (layout / "index.json").write_bytes(image_index([entry]))
    assert list(files_of(opened(layout).image.files())) == ["amd64"]
    with pytest.raises(InputError, match="no image for linux/riscv64") as caught:
        opened(layout, Platform("linux", "riscv64"))
    assert caught.value.hint == "it has: linux/amd64, linux/arm64"


def test_what_is_not_a_container_image(tmp_path: Path) -> None:
    config = dump({})
    made = MadeImage.of([{"a": b""}])
    other = made.manifest.replace(b"image.config.v1+json", b"empty.v1+json")
    broken = MadeImage(config, made.layers, other)
    with pytest.raises(InputError, match="image is not a container image"):
        opened(broken.write_layout(tmp_path / "layout"))
