"""Layouts and Docker archives: skopeo and umoci write, we read; we write, they read."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from imager.content.extents import FileRange
from imager.oci import layout as lay
from imager.oci import manifest as m
from imager.oci.docker_archive import DockerArchive, DockerArchiveImage
from imager.oci.layout import Layout
from imager.oci.local import LocalImage, parse_entry
from imager.oci.platform import Platform
from imager.oci.reference import Reference
from imager.oci.source import ImageSource
from imager.support.errors import InputError
from tests.lib.registries.client import fetch, manifest_of
from tests.lib.registries.registry import copy_image
from tests.lib.tools.support import content_bytes

pytestmark = pytest.mark.oracle

NAME = "example.com/team/app:v2"


def skopeo_inspect(name: str) -> subprocess.CompletedProcess[bytes]:
    argv = ["skopeo", "--insecure-policy", "inspect", "--raw", name]
    return subprocess.run(argv, capture_output=True, check=False)


def made(path: Path, tag: Reference | None = None) -> DockerArchiveImage:
    archive = DockerArchive.open(path)
    return archive.made_image(archive.entry(tag))


def export(image: ImageSource, folder: Path, *platforms: Platform) -> Path:
    """Write the image as a layout with our own pieces, one entry a platform."""
    root = image.root()
    manifest = manifest_of(image)
    (folder / "blobs/sha256").mkdir(parents=True)
    (folder / lay.blob_path(root.digest)).write_bytes(root.raw)
    for blob in manifest.blobs:
        (folder / lay.blob_path(blob.digest)).write_bytes(fetch(image, blob))
    entries = [
        m.Descriptor(
            root.media_type, root.digest, len(root.raw), platform, ((lay.REF_NAME, "latest"),)
        )
        for platform in platforms
    ]
    (folder / lay.INDEX_FILE).write_bytes(m.index_json(entries))
    (folder / lay.LAYOUT_FILE).write_bytes(lay.oci_layout_json())
    return folder


def test_reads_the_layout_of_umoci(layout: Path) -> None:
    image = Layout.open(layout).select(name="v1")
    assert image.root().raw == skopeo_inspect(f"oci:{layout}:v1").stdout
    for blob in manifest_of(image).blobs:
        data = fetch(image, blob)
        content = image.blob_content(blob)
        assert content is not None
        assert content_bytes(content) == data
        assert hashlib.sha256(data).hexdigest() == blob.digest.hex


def test_skopeo_and_umoci_read_our_layout(layout: Path, tmp_path: Path) -> None:
    image = Layout.open(layout).select(name="v1")
    ours = export(image, tmp_path / "ours", Platform("linux", "amd64"))
    assert skopeo_inspect(f"oci:{ours}:latest").stdout == image.root().raw
    copy_image(f"oci:{ours}:latest", f"dir:{tmp_path / 'dir'}")
    listed = subprocess.run(
        ["umoci", "ls", "--layout", str(ours)], capture_output=True, check=True, text=True
    )
    assert listed.stdout.split() == ["latest"]
    damaged = ours / lay.blob_path(manifest_of(image).layers[0].digest)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    with pytest.raises(RuntimeError):
        copy_image(f"oci:{ours}:latest", f"dir:{tmp_path / 'again'}")


@pytest.fixture
def archive(layout: Path, tmp_path: Path) -> Path:
    path = tmp_path / "archive.tar"
    copy_image(f"oci:{layout}:v1", f"docker-archive:{path}:{NAME}")
    return path


def test_reads_the_docker_archive_of_skopeo(archive: Path, layout: Path, tmp_path: Path) -> None:
    image = made(archive, Reference.parse(NAME))
    manifest = manifest_of(image)
    # The layers are those of the layout, decompressed: its configuration names their digests.
    original = Layout.open(layout).select(name="v1")
    config = json.loads(fetch(original, manifest_of(original).config))
    assert [str(layer.digest) for layer in manifest.layers] == config["rootfs"]["diff_ids"]
    assert {layer.media_type for layer in manifest.layers} == {m.OCI_LAYER}
    ours = export(image, tmp_path / "ours", Platform("linux", "amd64"))
    assert skopeo_inspect(f"oci:{ours}:latest").stdout == image.root().raw
    unpacked = tmp_path / "bundle"
    subprocess.run(
        ["umoci", "unpack", "--rootless", "--image", f"{ours}:latest", str(unpacked)],
        capture_output=True,
        check=True,
    )
    assert (unpacked / "rootfs/data/file").read_text() == "hello\n"


def test_the_manifest_of_an_archive_is_always_the_same(archive: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.tar"
    copy_image(f"docker-archive:{archive}", f"docker-archive:{again}:other.example/x:v9")
    first, second = (made(path) for path in (archive, again))
    assert first.root() == second.root()


def test_local_sources_open_by_their_written_names(archive: Path, layout: Path) -> None:
    texts = {
        f"docker-archive:{archive}": NAME,
        f"docker-archive:{archive}:{NAME}": NAME,
        f"ghcr.io/x/y:v1=docker-archive:{archive}": "ghcr.io/x/y:v1",
        f"ghcr.io/x/y:v1=oci:{layout}:v1": "ghcr.io/x/y:v1",
    }
    for text, name in texts.items():
        local = parse_entry(text)
        assert isinstance(local, LocalImage)
        ((found, image),) = local.open().images
        assert found == Reference.parse(name)
        assert manifest_of(image).layers


def test_a_damaged_archive_is_refused_by_both(archive: Path, tmp_path: Path) -> None:
    layer = manifest_of(made(archive)).layers[0]
    (extent,) = made(archive).blobs[layer.digest].extents
    assert isinstance(extent.source, FileRange)
    data = bytearray(archive.read_bytes())
    # A byte of the file's own contents: the tar around it stays valid.
    data[data.index(b"hello\n", extent.source.offset)] ^= 1
    archive.write_bytes(data)
    with pytest.raises(InputError, match="does not match its configuration"):
        made(archive)
    with pytest.raises(RuntimeError):
        copy_image(f"docker-archive:{archive}", f"oci:{tmp_path / 'l'}:x")
