"""Digests, platforms, JSON documents, manifests and indexes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imager.oci import manifest as m
from imager.oci.digest import Digest
from imager.oci.documents import load_json
from imager.oci.platform import Platform
from imager.support.errors import ImagerError, InputError, UnsupportedError

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

ENTRY = {"mediaType": m.OCI_MANIFEST}


def descriptor(**extra: Any) -> dict[str, Any]:
    return {"mediaType": m.OCI_LAYER, "digest": f"sha256:{EMPTY}", "size": 0, **extra}


def image(**extra: Any) -> dict[str, Any]:
    config = descriptor(mediaType=m.OCI_CONFIG)
    return {"schemaVersion": 2, "config": config, "layers": [descriptor()], **extra}


def index(*entries: dict[str, Any], **extra: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "manifests": list(entries), **extra}


def parse(value: object, media_type: str = "") -> m.Document:
    return m.parse_manifest(json.dumps(value).encode(), media_type=media_type)


def test_digest_of_nothing() -> None:
    digest = Digest.of(b"")
    assert (str(digest), digest.file_name) == (f"sha256:{EMPTY}", f"sha256-{EMPTY}")
    assert Digest.parse(str(digest)) == digest


@pytest.mark.parametrize(
    "text", ["", EMPTY, "sha256:", f"sha256:{EMPTY[1:]}", f"sha256:{EMPTY.upper()}", "sha256:../x"]
)
def test_digest_refuses(text: str) -> None:
    with pytest.raises(InputError, match="digest"):
        Digest.parse(text)


def test_other_algorithms_are_unsupported() -> None:
    with pytest.raises(UnsupportedError, match="sha512"):
        Digest.parse("sha512:" + EMPTY * 2)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/aarch64", "linux/arm64", True),
        ("linux/x86_64", "linux/amd64", True),
        ("linux/arm", "linux/arm/v7", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/amd64/v3", "linux/amd64", False),
        ("linux/amd64", "windows/amd64", False),
    ],
)
def test_platforms_match(one: str, other: str, same: bool) -> None:
    assert Platform.parse(one).matches(Platform.parse(other)) is same


@pytest.mark.parametrize("text", ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/../x", "all"])
def test_platform_refuses(text: str) -> None:
    with pytest.raises(InputError, match="platform"):
        Platform.parse(text)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>",
        b"\xff\xfe",
        b"{",
        b'{"a": NaN}',
        b'{"a": 1, "a": 2}',
        b"[" * 100_000,
        b"9" * 10_000,
        b" " * (4 * 1024 * 1024 + 1),
    ],
    ids=["empty", "html", "utf16", "cut", "nan", "twice", "deep", "long number", "large"],
)
def test_hostile_json_is_an_input_error(raw: bytes) -> None:
    with pytest.raises(InputError, match="thing"):
        load_json(raw, where="thing")


def test_reads_an_image() -> None:
    found = parse(image(), m.OCI_MANIFEST)
    assert isinstance(found, m.ImageManifest)
    assert found.media_type == m.OCI_MANIFEST
    assert found.layers == (m.Descriptor(m.OCI_LAYER, Digest(EMPTY), 0),)
    assert [blob.digest.hex for blob in found.blobs] == [EMPTY]


@pytest.mark.parametrize(
    ("document", "hint", "kind"),
    [
        (image(), "", m.OCI_MANIFEST),
        (image(), "application/json", m.OCI_MANIFEST),
        (image(), f"{m.DOCKER_MANIFEST}; charset=utf-8", m.DOCKER_MANIFEST),
        (image(mediaType=m.DOCKER_MANIFEST), "text/plain", m.DOCKER_MANIFEST),
        (index(), "", m.OCI_INDEX),
        (index(), m.DOCKER_LIST, m.DOCKER_LIST),
    ],
)
def test_media_type_comes_from_the_document_then_the_sender(
    document: dict[str, Any], hint: str, kind: str
) -> None:
    assert parse(document, hint).media_type == kind


@pytest.mark.parametrize(
    ("document", "hint", "why"),
    [
        ([], "", "JSON object"),
        (image(schemaVersion=3), "", "schemaVersion"),
        ({"config": descriptor(), "layers": []}, "", "schemaVersion"),
        (image(mediaType=m.OCI_MANIFEST), m.OCI_INDEX, "was sent as"),
        (image(manifests=[]), m.OCI_MANIFEST, "ambiguous"),
        (index(config=descriptor()), "", "ambiguous"),
        ({"schemaVersion": 2, "layers": []}, "", "config is missing"),
        (image(layers={}), "", "must be a list"),
        (image(layers=[1]), "", "JSON object"),
        (image(layers=[descriptor(size=-1)]), "", "non-negative"),
        (image(layers=[descriptor(size=True)]), "", "non-negative number"),
        (image(layers=[descriptor(size=1.5)]), "", "non-negative number"),
        (image(layers=[descriptor(size="1")]), "", "non-negative number"),
        (image(layers=[descriptor(size=1 << 63)]), "", "non-negative number"),
        (image(layers=[descriptor(digest="sha256:/../../etc")]), "", r"layers\[0\].*digest"),
        (image(layers=[descriptor(digest=1)]), "", "digest must be a string"),
        (image(layers=[descriptor(mediaType="")]), "", "mediaType is missing"),
        (index(descriptor(**ENTRY, platform=1)), "", "platform"),
        (index(descriptor(**ENTRY, platform={"os": 1})), "", "os must be a string"),
        (index(descriptor(**ENTRY, annotations={"a": 1})), "", "a must be a string"),
        (index(descriptor(mediaType="")), "", "mediaType is missing"),
    ],
)
def test_refuses_what_breaks_the_specification(document: object, hint: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        parse(document, hint)


@pytest.mark.parametrize(
    ("document", "hint", "why"),
    [
        ({"schemaVersion": 1, "fsLayers": []}, "", "schema 1"),
        ({}, "application/vnd.docker.distribution.manifest.v1+prettyjws", "schema 1"),
        (image(mediaType="application/x-thing"), "", "application/x-thing"),
        (image(layers=[descriptor(digest="sha512:" + EMPTY * 2)]), "", "sha512"),
    ],
)
def test_says_what_is_not_supported(document: object, hint: str, why: str) -> None:
    with pytest.raises(UnsupportedError, match=why):
        parse(document, hint)


def test_an_index_without_attestations_and_unknown_media_types() -> None:
    def entry(size: int, **more: Any) -> dict[str, Any]:
        return descriptor(mediaType=m.OCI_MANIFEST, size=size, **more)

    unknown = {"os": "unknown", "architecture": "unknown"}
    marked = {"vnd.docker.reference.type": "attestation-manifest"}
    # What is ignored is not read either: its digest is none that we know.
    other = {"mediaType": "application/vnd.example+json", "digest": "md5:1"}
    found = parse(
        index(
            other,
            entry(9, platform=unknown),
            entry(8, platform={"os": "linux", "architecture": "amd64"}, annotations=marked),
            entry(1, platform={"os": "linux", "architecture": "amd64"}),
            entry(2, artifactType="application/x", platform={"os": "", "architecture": ""}),
            descriptor(mediaType=m.DOCKER_LIST, size=3),
        )
    )
    assert isinstance(found, m.Index)
    assert [item.size for item in found.manifests] == [9, 8, 1, 2, 3]
    assert [item.size for item in found.images] == [1, 2, 3]
    assert found.images[1].platform is None
    assert found.images[1].artifact_type == "application/x"


def test_foreign_layers_and_artifacts() -> None:
    kinds = (
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    )
    layers = [descriptor(mediaType=kind, urls=["https://a/b", "https://c"]) for kind in kinds]
    found = parse(image(layers=[*layers, descriptor()]))
    assert isinstance(found, m.ImageManifest)
    assert [layer.is_foreign for layer in found.layers] == [True, True, False]
    assert found.layers[0].urls == ("https://a/b", "https://c")
    assert not found.is_artifact
    empty = descriptor(mediaType="application/vnd.oci.empty.v1+json")
    artifact = parse(image(config=empty))
    assert isinstance(artifact, m.ImageManifest)
    assert artifact.is_artifact


def test_written_documents_read_back_and_are_always_the_same() -> None:
    layer = m.Descriptor(m.OCI_LAYER, Digest.of(b"layer"), 5)
    config = m.Descriptor(m.OCI_CONFIG, Digest.of(b"{}"), 2)
    raw = m.manifest_json(config, [layer])
    assert raw == m.manifest_json(config, [layer])
    found = m.RawManifest.parse(raw)
    assert found.document == m.ImageManifest(m.OCI_MANIFEST, config, (layer,))
    named = m.Descriptor(
        m.OCI_MANIFEST,
        found.digest,
        len(raw),
        Platform("linux", "arm64", "v8"),
        (("org.opencontainers.image.ref.name", "latest"),),
    )
    assert found.descriptor() == m.Descriptor(m.OCI_MANIFEST, Digest.of(raw), len(raw))
    assert parse(json.loads(m.index_json([named]))) == m.Index(m.OCI_INDEX, (named,))


_keys = st.sampled_from(
    ["schemaVersion", "mediaType", "config", "layers", "manifests", "digest", "size", "platform"]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=5),
    max_leaves=20,
)


@given(st.dictionaries(_keys, _json) | st.builds(image, layers=_json) | st.builds(index, _json))
def test_any_document_parses_or_is_our_error(document: object) -> None:
    try:
        parse(document)
    except ImagerError as error:
        assert error.message
