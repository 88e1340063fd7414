"""Writing an image cache: what may be replaced, and sources that fail or lie meanwhile."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from imager.cache.contents import BlobSource, Gathered
from imager.cache.plan import CacheLayout, CreateOptions, LayerCompression
from imager.cache.write import check_creatable, write_gathered
from imager.content.extents import Content
from imager.oci.digest import Digest
from imager.oci.manifest import OCI_LAYER, Descriptor
from imager.oci.platform import Platform
from imager.oci.source import ByteSink
from imager.support import folders
from imager.support.errors import DependencyError, HostError, InputError
from imager.support.reporter import ProgressStyle, Reporter, make_reporter
from tests.lib.caches.caches import layout_blobs, tar_bytes, tree_files
from tests.lib.registries.remote_source import RemoteSource

REMOTE = bytes(range(256)) * 33
LOCAL = b"local blob" * 1001
MANIFEST_PATH = "manifests/registry.local/app/reference/v1"


@dataclasses.dataclass(frozen=True)
class Source(RemoteSource):
    """Gives one blob: from a file when there is one, else in pieces, as from a network."""

    data: bytes
    path: Path | None = None
    error: Exception | None = None

    def blob_content(self, blob: Descriptor) -> Content | None:
        return None if self.path is None else Content.of_file(self.path)

    def fetch_blob(self, blob: Descriptor, sink: ByteSink, *, have: Iterable[bytes] = ()) -> None:
        for start in range(0, len(self.data), 1000):
            sink.write(self.data[start : start + 1000])
        if self.error is not None:
            raise self.error


@pytest.fixture
def reporter() -> Reporter:
    return make_reporter(ProgressStyle.NONE)


def blob_source(data: bytes, source: Source) -> tuple[Digest, BlobSource]:
    digest = Digest.of(data)
    return digest, BlobSource(Descriptor(OCI_LAYER, digest, len(data)), source)


def gathered(folder: Path, *, error: Exception | None = None, damaged: bool = False) -> Gathered:
    local = folder / "blob"
    local.write_bytes(LOCAL[::-1] if damaged else LOCAL)
    blobs = (
        blob_source(REMOTE, Source(REMOTE, error=error)),
        blob_source(LOCAL, Source(LOCAL, path=local)),
    )
    return Gathered({MANIFEST_PATH: b"{}"}, dict(blobs), {Platform("linux", "arm64")})


@pytest.mark.parametrize("compression", LayerCompression)
def test_the_layer_is_the_tree(
    tmp_path: Path, reporter: Reporter, compression: LayerCompression
) -> None:
    made = write_gathered(
        gathered(tmp_path),
        tmp_path / "cache",
        options=CreateOptions(compression=compression),
        reporter=reporter,
    )

    blobs = layout_blobs(tmp_path / "cache")
    assert made.layer is not None
    assert blobs["layer"].name == made.layer.digest.hex
    assert blobs["layer"].stat().st_size == made.layer.size
    config = json.loads(blobs["config"].read_bytes())
    assert (config["os"], config["architecture"]) == ("linux", "arm64")
    if compression is LayerCompression.NONE:
        assert REMOTE in blobs["layer"].read_bytes()
        assert LOCAL in blobs["layer"].read_bytes()


def test_the_tar_is_in_the_order_of_names(tmp_path: Path, reporter: Reporter) -> None:
    """And no bigger than the tar that Python writes of the same tree."""
    write_gathered(
        gathered(tmp_path),
        tmp_path / "cache",
        options=CreateOptions(compression=LayerCompression.NONE),
        reporter=reporter,
    )
    files = {f"blob/{Digest.of(data).file_name}": data for data in (REMOTE, LOCAL)}
    files[MANIFEST_PATH] = b"{}"
    expected = tar_bytes(dict(sorted(files.items())))
    layer = layout_blobs(tmp_path / "cache")["layer"].read_bytes()
    assert len(layer) <= len(expected)
    places = [layer.index(data) for _, data in sorted(files.items())]
    assert places == sorted(places)


def test_an_image_source_that_fails_leaves_nothing(tmp_path: Path, reporter: Reporter) -> None:
    failing = gathered(tmp_path, error=DependencyError("gone"))
    with pytest.raises(DependencyError, match="gone"):
        write_gathered(
            failing,
            tmp_path / "cache",
            options=CreateOptions(compression=LayerCompression.NONE),
            reporter=reporter,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["blob"]


def test_a_local_blob_that_lies_is_named(tmp_path: Path, reporter: Reporter) -> None:
    lying = gathered(tmp_path, damaged=True)
    with pytest.raises(InputError, match=str(Digest.of(LOCAL))):
        write_gathered(
            lying,
            tmp_path / "cache",
            options=CreateOptions(compression=LayerCompression.ZSTD),
            reporter=reporter,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["blob"]


@pytest.mark.parametrize(
    ("compression", "factor"), [(LayerCompression.NONE, 1), (LayerCompression.GZIP, 2)]
)
def test_the_space_is_asked_for_before_a_blob_is(
    *,
    tmp_path: Path,
    reporter: Reporter,
    monkeypatch: pytest.MonkeyPatch,
    compression: LayerCompression,
    factor: int,
) -> None:
    made = write_gathered(
        gathered(tmp_path),
        tmp_path / "first",
        options=CreateOptions(compression=LayerCompression.NONE),
        reporter=reporter,
    )
    assert made.layer is not None
    needed = factor * made.layer.size
    unread = gathered(tmp_path, error=AssertionError("asked for a blob"))
    monkeypatch.setattr(folders, "free_space", lambda _folder: needed - 1)
    with pytest.raises(HostError, match="free"):
        write_gathered(
            unread,
            tmp_path / "cache",
            options=CreateOptions(compression=compression),
            reporter=reporter,
        )
    monkeypatch.setattr(folders, "free_space", lambda _folder: needed)
    write_gathered(
        gathered(tmp_path),
        tmp_path / "cache",
        options=CreateOptions(compression=compression),
        reporter=reporter,
    )


def test_replacing_happens_in_one_step(tmp_path: Path, reporter: Reporter) -> None:
    path = tmp_path / "cache"
    none = LayerCompression.NONE
    write_gathered(
        gathered(tmp_path), path, options=CreateOptions(compression=none), reporter=reporter
    )
    before = tree_files(path)
    with pytest.raises(DependencyError):
        failing = gathered(tmp_path, error=DependencyError("gone"))
        write_gathered(failing, path, options=CreateOptions(compression=none), reporter=reporter)
    assert tree_files(path) == before
    packed = LayerCompression.GZIP
    write_gathered(
        gathered(tmp_path), path, options=CreateOptions(compression=packed), reporter=reporter
    )
    assert tree_files(path) != before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["blob", "cache"]


@pytest.mark.parametrize("force", [False, True])
def test_a_new_path_may_be_made(tmp_path: Path, *, force: bool) -> None:
    check_creatable(tmp_path / "cache", force=force)


@pytest.mark.parametrize("names", [[], ["oci-layout"], ["oci-layout", "blobs", "index.json"]])
def test_force_replaces_a_layout_or_an_empty_folder(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / "cache"
    path.mkdir()
    for name in names:
        (path / name).write_text("{}")
    check_creatable(path, force=True)
    with pytest.raises(InputError, match="exists already"):
        check_creatable(path, force=False)


@pytest.mark.parametrize("name", ["letter", "index.json", "blobs"])
def test_force_replaces_nothing_else(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("keep me")
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(InputError, match="is not an image cache"):
            check_creatable(path, force=True)


def test_what_a_link_leads_to_is_replaced(tmp_path: Path, reporter: Reporter) -> None:
    data, links = tmp_path / "data", tmp_path / "links"
    for folder in (data, links):
        folder.mkdir()
    link = links / "cache"
    link.symlink_to(data / "cache")
    for force in (False, True):
        check_creatable(link, force=force)
        none = LayerCompression.NONE
        write_gathered(
            gathered(tmp_path), link, options=CreateOptions(compression=none), reporter=reporter
        )
        assert link.is_symlink()
        assert (data / "cache/index.json").is_file()
        assert [len(list(folder.iterdir())) for folder in (data, links)] == [1, 1]


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist") as caught:
        check_creatable(tmp_path / "a/cache", force=False)
    assert caught.value.hint == f"mkdir -p {tmp_path / 'a'}"


FLAT = CreateOptions(CacheLayout.FLAT)


def test_a_flat_cache_is_the_tree_itself(tmp_path: Path, reporter: Reporter) -> None:
    made = write_gathered(gathered(tmp_path), tmp_path / "cache", options=FLAT, reporter=reporter)
    assert made.layer is None
    blobs = {f"blob/{Digest.of(data).file_name}": data for data in (REMOTE, LOCAL)}
    files = tree_files(tmp_path / "cache")
    assert {path: data for path, data in files.items() if path.startswith("blob/")} == blobs
    assert files.keys() - blobs.keys() == gathered(tmp_path).manifests.keys()


def test_a_flat_cache_that_fails_leaves_nothing(tmp_path: Path, reporter: Reporter) -> None:
    failing = gathered(tmp_path, error=DependencyError("gone"))
    with pytest.raises(DependencyError, match="gone"):
        write_gathered(failing, tmp_path / "cache", options=FLAT, reporter=reporter)
    assert [path.name for path in tmp_path.iterdir()] == ["blob"]


def test_a_flat_cache_has_no_layer_to_compress(tmp_path: Path, reporter: Reporter) -> None:
    packed = CreateOptions(CacheLayout.FLAT, LayerCompression.ZSTD)
    with pytest.raises(InputError, match="no layer"):
        write_gathered(gathered(tmp_path), tmp_path / "cache", options=packed, reporter=reporter)


def test_a_flat_cache_is_replaced_like_another(tmp_path: Path, reporter: Reporter) -> None:
    path = tmp_path / "cache"
    write_gathered(gathered(tmp_path), path, options=FLAT, reporter=reporter)
    with pytest.raises(InputError, match="exists already"):
        check_creatable(path, force=False)
    check_creatable(path, force=True)
    write_gathered(gathered(tmp_path), path, options=CreateOptions(), reporter=reporter)
    assert (path / "index.json").is_file()
    assert not (path / "manifests").exists()
