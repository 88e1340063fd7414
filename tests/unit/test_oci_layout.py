"""The layout reader against layouts made by hand, good and hostile."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from imager.oci import layout as lay
from imager.oci import manifest as m
from imager.oci.digest import Digest
from imager.oci.errors import InvalidImageError, NotFoundError
from imager.oci.platform import Platform
from imager.support.errors import ImagerError, InputError, UnsupportedError
from tests.lib.tools.support import content_bytes

LAYER = b"not really a tar " * 1000
CONFIG = b'{"os":"linux","architecture":"amd64"}'


def put(folder: Path, data: bytes) -> Digest:
    digest = Digest.of(data)
    path = folder / lay.blob_path(digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return digest


def blob(media_type: str, data: bytes) -> m.Descriptor:
    return m.Descriptor(media_type, Digest.of(data), len(data))


def make(folder: Path, *entries: m.Descriptor) -> Path:
    put(folder, CONFIG)
    put(folder, LAYER)
    put(folder, MANIFEST)
    (folder / "oci-layout").write_bytes(lay.oci_layout_json())
    (folder / "index.json").write_bytes(m.index_json(entries or [named("v1")]))
    return folder


MANIFEST = m.manifest_json(blob(m.OCI_CONFIG, CONFIG), [blob(m.OCI_LAYER, LAYER)])


def named(name: str, platform: Platform | None = None, raw: bytes = MANIFEST) -> m.Descriptor:
    annotations = ((lay.REF_NAME, name),) if name else ()
    return m.Descriptor(m.OCI_MANIFEST, Digest.of(raw), len(raw), platform, annotations)


def test_reads_the_only_image_and_its_blobs(tmp_path: Path) -> None:
    image = lay.Layout.open(make(tmp_path / "l")).select()
    root = image.root()
    assert root.raw == MANIFEST
    assert image.manifest(root.digest) == image.manifest("v1") == root
    document = root.document
    assert isinstance(document, m.ImageManifest)
    sink = io.BytesIO()
    image.fetch_blob(document.layers[0], sink)
    assert sink.getvalue() == LAYER
    assert content_bytes(image.blob_content(document.layers[0])) == LAYER
    assert image.warnings == ()


def test_selects_by_name_and_platform(tmp_path: Path) -> None:
    other = MANIFEST.replace(b'"layers"', b'"annotations":{},"layers"')
    amd64, arm64 = Platform("linux", "amd64"), Platform("linux", "arm64")
    folder = make(tmp_path / "l", named("v1", amd64), named("v1", arm64, other), named("v2"))
    put(folder, other)
    layout = lay.Layout.open(folder)
    assert layout.select(name="v1", platform=arm64).root().raw == other
    assert layout.select(name="v2", platform=arm64).root().raw == MANIFEST
    with pytest.raises(InputError, match="2 images for v1") as caught:
        layout.select(name="v1")
    assert "v1 linux/amd64; v1 linux/arm64; v2" in caught.value.hint
    with pytest.raises(InputError, match="no image for v3"):
        layout.select(name="v3")
    with pytest.raises(NotFoundError, match="no image v9"):
        layout.select(name="v2").manifest("v9")


def test_one_manifest_for_several_platforms_is_one_image(tmp_path: Path) -> None:
    entries = [named("latest", Platform("linux", arch)) for arch in ("amd64", "arm64")]
    layout = lay.Layout.open(make(tmp_path / "l", *entries))
    assert layout.select().root() == layout.select(platform=Platform("linux", "arm64")).root()
    with pytest.raises(InputError, match="no image for linux/s390x"):
        layout.select(platform=Platform("linux", "s390x"))


def _no_mark(folder: Path) -> None:
    (folder / "oci-layout").unlink()


def _future(folder: Path) -> None:
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "2.0.0"}')


def _not_an_index(folder: Path) -> None:
    (folder / "index.json").write_bytes(MANIFEST)


def _link_outside(folder: Path) -> None:
    (folder / "index.json").rename(folder.parent / "outside.json")
    (folder / "index.json").symlink_to("../outside.json")


def _huge(folder: Path) -> None:
    with (folder / "index.json").open("r+b") as file:
        file.truncate(1 << 40)


@pytest.mark.parametrize(
    ("damage", "kind", "why"),
    [
        (_no_mark, InvalidImageError, "not an OCI image layout"),
        (shutil.rmtree, InvalidImageError, "does not exist"),
        (_future, UnsupportedError, "2.0.0"),
        (_not_an_index, InputError, "not an index"),
        (_link_outside, InvalidImageError, "leads out of the folder"),
        (_huge, InvalidImageError, "too large for a JSON document"),
    ],
)
def test_refuses_to_open(
    tmp_path: Path, damage: Callable[[Path], None], kind: type[ImagerError], why: str
) -> None:
    folder = make(tmp_path / "l")
    damage(folder)
    with pytest.raises(kind, match=why):
        lay.Layout.open(folder)


def test_refuses_a_damaged_manifest(tmp_path: Path) -> None:
    folder = make(tmp_path / "l")
    path = folder / lay.blob_path(Digest.of(MANIFEST))
    path.write_bytes(MANIFEST.replace(b"gzip", b"gzop").replace(b'"layers"', b'"lavers"'))
    image = lay.Layout.open(folder).select()
    with pytest.raises(InvalidImageError, match="does not match its digest"):
        image.root()
    path.write_bytes(MANIFEST[:-1])
    with pytest.raises(InvalidImageError, match="its descriptor says"):
        image.root()


def test_refuses_a_damaged_blob(tmp_path: Path) -> None:
    folder = make(tmp_path / "l")
    image = lay.Layout.open(folder).select()
    layer = blob(m.OCI_LAYER, LAYER)
    path = folder / lay.blob_path(layer.digest)
    path.write_bytes(LAYER[:-1] + b"?")
    with pytest.raises(InvalidImageError, match="does not match its digest"):
        image.fetch_blob(layer, io.BytesIO())
    path.write_bytes(LAYER[:-1])
    with pytest.raises(InputError, match="has 16999 bytes"):
        image.blob_content(layer)
    path.unlink()
    with pytest.raises(NotFoundError, match="is missing"):
        image.blob_content(layer)
    outside = tmp_path / "outside"
    outside.write_bytes(LAYER)
    path.symlink_to(outside)
    with pytest.raises(InputError, match="leads out of the folder"):
        image.blob_content(layer)
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(NotFoundError, match="is missing"):
        image.blob_content(layer)


def test_index_json_has_no_layout_dependent_bytes() -> None:
    written = json.loads(m.index_json([named("latest", Platform("linux", "amd64"))]))
    assert written["manifests"][0]["platform"] == {"architecture": "amd64", "os": "linux"}
    assert json.loads(lay.oci_layout_json()) == {"imageLayoutVersion": "1.0.0"}
