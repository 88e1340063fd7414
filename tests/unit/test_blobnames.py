"""A damaged blob is called by the images that use it."""

from __future__ import annotations

from imager.cache.blobnames import BlobNames
from imager.oci import manifest as m
from imager.oci.digest import Digest
from imager.oci.manifest import RawManifest
from imager.oci.reference import Reference

BLOB = Digest.of(b"layer")
CONFIG = m.Descriptor(m.OCI_CONFIG, Digest.of(b"{}"), 2)
IMAGE = RawManifest.parse(
    m.manifest_json(CONFIG, [m.Descriptor(m.OCI_LAYER, BLOB, 5)]), where="test"
)


def named(*tags: str) -> str:
    name = "quay.io/a"
    own = Reference.parse(f"{name}@{IMAGE.digest}")
    manifests = {Reference.parse(f"{name}:{tag}"): IMAGE for tag in tags}
    return BlobNames({own: IMAGE, **manifests}).of(BLOB)


def test_tags_come_first() -> None:
    assert named("v2", "v1") == f"blob {BLOB} of quay.io/a:v1, quay.io/a:v2"


def test_an_image_without_a_tag() -> None:
    assert named() == f"blob {BLOB} of quay.io/a@{IMAGE.digest}"


def test_many_are_counted() -> None:
    assert named(*"abcde").endswith(" of quay.io/a:a, quay.io/a:b, quay.io/a:c and 2 other images")
    assert named(*"abcd").endswith(" and 1 other image")


def test_a_blob_of_no_image() -> None:
    assert BlobNames({}).of(BLOB) == f"blob {BLOB}"


def test_the_parts_of_an_index() -> None:
    index = RawManifest.parse(
        m.index_json([m.Descriptor(m.OCI_MANIFEST, IMAGE.digest, len(IMAGE.raw))]), where="test"
    )
    manifests = {
        Reference.parse("quay.io/a:v1"): index,
        Reference.parse(f"quay.io/a@{IMAGE.digest}"): IMAGE,
    }
    assert BlobNames(manifests).of(CONFIG.digest) == f"blob {CONFIG.digest} of quay.io/a:v1"
