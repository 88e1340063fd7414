"""Docker archives made by hand: legacy and new names, compressed layers, hostile ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import zstandard

from imager.oci import manifest as m
from imager.oci.archive import open_archive
from imager.oci.digest import Digest
from imager.oci.docker_archive import DockerArchive, DockerArchiveImage
from imager.oci.errors import NotFoundError
from imager.oci.reference import Reference
from imager.support.errors import ImagerError, InputError, UnsupportedError
from tests.lib.registries.client import fetch, manifest_of
from tests.lib.tools.support import content_bytes

ONE, TWO = b"layer one " * 5000, b"layer two " * 300_000


def diff_id(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def config(*layers: bytes) -> bytes:
    rootfs = {"type": "layers", "diff_ids": [diff_id(layer) for layer in layers]}
    return json.dumps({"os": "linux", "architecture": "amd64", "rootfs": rootfs}).encode()


def listing(*, layers: list[str], tags: list[str] | None = None, name: str = "c.json") -> Any:
    return {"Config": name, "RepoTags": tags, "Layers": layers}


def write(
    path: Path, files: Mapping[str, bytes], images: Any, links: Mapping[str, str] | None = None
) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in {**files, "manifest.json": json.dumps(images).encode()}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return path


def select(archive: DockerArchive, tag: Reference | None = None) -> DockerArchiveImage:
    return archive.made_image(archive.entry(tag))


def test_makes_a_manifest_of_a_legacy_archive(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tar",
        {"c.json": config(ONE, TWO), "aa/layer.tar": ONE, "x.tar": TWO},
        [listing(layers=["aa/layer.tar", "bb/layer.tar"], tags=["alpine:3"])],
        {"bb/layer.tar": "../x.tar"},
    )
    image = select(DockerArchive.open(path))
    manifest = manifest_of(image)
    assert image.tags == (Reference.parse("docker.io/library/alpine:3"),)
    assert manifest.config == m.Descriptor(
        m.OCI_CONFIG, Digest.of(config(ONE, TWO)), len(config(ONE, TWO))
    )
    assert manifest.layers == tuple(
        m.Descriptor(m.OCI_LAYER, Digest.of(data), len(data)) for data in (ONE, TWO)
    )
    for blob, data in zip(
        (manifest.config, *manifest.layers), (config(ONE, TWO), ONE, TWO), strict=True
    ):
        content = image.blob_content(blob)
        assert content_bytes(content) == fetch(image, blob) == data
    assert image.manifest("3") == image.manifest(image.root().digest) == image.root()
    assert "by digest will not match" in image.warnings[0]
    with pytest.raises(NotFoundError, match="no manifest 4"):
        image.manifest("4")
    with pytest.raises(NotFoundError, match="no blob"):
        image.blob_content(m.Descriptor(m.OCI_LAYER, Digest.of(b"?"), 1))


def test_the_made_manifest_depends_on_the_image_alone(tmp_path: Path) -> None:
    files = {"c.json": config(ONE), "l": ONE}
    first = write(tmp_path / "a.tar", files, [listing(layers=["l"], tags=["a:1"])])
    renamed = {"blobs/sha256/c": config(ONE), "blobs/sha256/l": ONE}
    images = [listing(layers=["blobs/sha256/l"], name="blobs/sha256/c")]
    second = write(tmp_path / "b.tar", dict(reversed(renamed.items())), images)
    assert (
        select(DockerArchive.open(first)).root().raw
        == select(DockerArchive.open(second)).root().raw
    )


def test_compressed_layers_stay_as_they_are(tmp_path: Path) -> None:
    # Two gzip members in one file: the layer is all of them.
    zipped = gzip.compress(TWO[:1000], mtime=0) + gzip.compress(TWO[1000:], mtime=0)
    packed = zstandard.compress(ONE)
    path = write(
        tmp_path / "a.tar",
        {"c.json": config(TWO, ONE), "z": zipped, "s": packed},
        [listing(layers=["z", "s"])],
    )
    manifest = manifest_of(select(DockerArchive.open(path)))
    assert manifest.layers == (
        m.Descriptor(m.OCI_LAYER_GZIP, Digest.of(zipped), len(zipped)),
        m.Descriptor(m.OCI_LAYER_ZSTD, Digest.of(packed), len(packed)),
    )


def test_selects_by_tag(tmp_path: Path) -> None:
    images = [
        listing(layers=["one"], tags=["a:1", "ghcr.io/x/y:2"], name="c1"),
        listing(layers=["two"], tags=["a:2"], name="c2"),
    ]
    files = {"c1": config(ONE), "c2": config(TWO), "one": ONE, "two": TWO}
    archive = DockerArchive.open(write(tmp_path / "a.tar", files, images))
    chosen = select(archive, Reference.parse("docker.io/library/a:2"))
    assert manifest_of(chosen).layers[0].digest == Digest.of(TWO)
    with pytest.raises(InputError, match="2 images") as caught:
        select(archive)
    assert "ghcr.io/x/y:2" in caught.value.hint
    with pytest.raises(InputError, match=r"no image for docker\.io/library/b:1"):
        select(archive, Reference.parse("b:1"))


GOOD = listing(layers=["l"])


@pytest.mark.parametrize(
    ("files", "images", "why"),
    [
        ({"c.json": config(ONE), "l": TWO}, [GOOD], "does not match its configuration"),
        ({"c.json": config(ONE, TWO), "l": ONE}, [GOOD], "lists 2 layers, but the archive has 1"),
        ({"c.json": b"{}", "l": ONE}, [GOOD], "lists 0 layers"),
        ({"c.json": b"<", "l": ONE}, [GOOD], "not valid JSON"),
        ({"c.json": b'{"rootfs": 1}', "l": ONE}, [GOOD], "rootfs must be a JSON object"),
        ({"c.json": config(ONE)}, [GOOD], "l is missing"),
        ({"l": ONE}, [GOOD], "c.json is missing"),
        (
            {"c.json": config(ONE), "l": gzip.compress(ONE, mtime=0)[:-9]},
            [GOOD],
            "cannot be decompressed",
        ),
        ({"c.json": config(ONE), "l": ONE, "./l": ONE}, [GOOD], "contains l twice"),
        ({}, {}, "must be a list"),
        ({}, [1], "must be a JSON object"),
        ({}, [{"Layers": []}], "Config is missing"),
        ({}, [{"Config": "c", "Layers": "l"}], "Layers must be a list"),
        ({}, [{"Config": "c", "Layers": [], "RepoTags": ["../x"]}], "registry"),
        ({}, [], "no image"),
    ],
)
def test_refuses_damaged_archives(
    tmp_path: Path, files: Mapping[str, bytes], images: Any, why: str
) -> None:
    path = write(tmp_path / "a.tar", files, images)
    with pytest.raises(InputError, match=why):
        select(DockerArchive.open(path))


def test_links_that_leave_the_archive_lead_nowhere(tmp_path: Path) -> None:
    links = {"l": "../../../etc/passwd", "a": "b", "b": "a"}
    path = write(tmp_path / "a.tar", {"c.json": config(ONE)}, [GOOD], links)
    assert set(open_archive(path).files) == {"c.json", "manifest.json"}
    with pytest.raises(InputError, match="l is missing"):
        select(DockerArchive.open(path))


def _raw(path: Path, info: tarfile.TarInfo, data: bytes = b"") -> Path:
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + data + bytes(1024))
    return path


def _info(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info


@pytest.mark.parametrize(
    ("info", "kind", "why"),
    [
        (_info("manifest.json", 1 << 40), InputError, "truncated"),
        (_info("x", 1 << 30, tarfile.XHDTYPE), InputError, "a header of"),
        (_info("x", 1 << 30, tarfile.GNUTYPE_LONGNAME), InputError, "a header of"),
        (_info("other", 0), InputError, "no manifest.json"),
    ],
)
def test_refuses_hostile_headers(
    tmp_path: Path, info: tarfile.TarInfo, kind: type[ImagerError], why: str
) -> None:
    with pytest.raises(kind, match=why):
        DockerArchive.open(_raw(tmp_path / "a.tar", info))


def test_refuses_what_is_no_plain_tar(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with pytest.raises(InputError, match="does not exist"):
        DockerArchive.open(path)
    for magic, program in ((b"\xfd7zXZ\0", "unxz"), (b"BZh91AY", "bunzip2")):
        path.write_bytes(magic)
        with pytest.raises(UnsupportedError, match="unsupported compression") as caught:
            DockerArchive.open(path)
        assert program in caught.value.hint
    path.write_bytes(gzip.compress(b"x", mtime=0))
    with pytest.raises(InputError, match=f"{path} is not a whole tar"):
        DockerArchive.open(path)
    path.write_bytes(b"x" * 2000)
    with pytest.raises(InputError, match="not a whole tar"):
        DockerArchive.open(path)
    sparse = _info("s", 0, tarfile.GNUTYPE_SPARSE)
    with pytest.raises(UnsupportedError, match="is a sparse entry"):
        DockerArchive.open(_raw(path, sparse))
