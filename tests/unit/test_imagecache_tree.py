from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imager.cache.paths import blob_path, manifest_path, parse_path
from imager.oci.digest import Digest
from imager.oci.reference import Reference

HEX = "0123456789abcdef" * 4
DIGEST = Digest(HEX)

# (reference, path), from FORMATS.
PLACES = [
    ("alpine:3.20", "manifests/docker.io/library/alpine/reference/3.20"),
    (
        "registry.k8s.io/coredns/coredns:v1.12.0",
        "manifests/registry.k8s.io/coredns/coredns/reference/v1.12.0",
    ),
    ("host:5000/a/b/c:v1", "manifests/host_5000_/a/b/c/reference/v1"),
    (f"host.local:5000/a@sha256:{HEX}", f"manifests/host.local_5000_/a/digest/sha256-{HEX}"),
    (f"ghcr.io/x/y@sha256:{HEX}", f"manifests/ghcr.io/x/y/digest/sha256-{HEX}"),
    (
        "localhost/reference/digest:reference",
        "manifests/localhost/reference/digest/reference/reference",
    ),
    (f"quay.io/a:sha256-{HEX}.sig", f"manifests/quay.io/a/reference/sha256-{HEX}.sig"),
]


@pytest.mark.parametrize(("reference", "path"), PLACES)
def test_references_have_their_places(reference: str, path: str) -> None:
    assert manifest_path(Reference.parse(reference)) == path


@pytest.mark.parametrize(("reference", "path"), PLACES)
def test_places_have_their_references(reference: str, path: str) -> None:
    assert parse_path(path) == Reference.parse(reference)


def test_the_digest_goes_before_the_tag() -> None:
    both = Reference.parse(f"quay.io/a:v1@sha256:{HEX}")
    assert manifest_path(both) == f"manifests/quay.io/a/digest/sha256-{HEX}"


def test_blobs_have_their_places() -> None:
    assert blob_path(DIGEST) == f"blob/sha256-{HEX}"
    assert parse_path(f"blob/sha256-{HEX}") == DIGEST


_NAMES = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)


@given(
    host=st.from_regex(r"[a-z][a-z0-9]{0,7}\.[a-z]{2,4}", fullmatch=True),
    port=st.none() | st.integers(1, 65535),
    parts=st.lists(_NAMES, min_size=1, max_size=4),
    target=st.from_regex(r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
    | st.just(f"@sha256:{HEX}"),
)
def test_every_reference_comes_back(
    host: str, port: int | None, parts: list[str], target: str
) -> None:
    domain = host if port is None else f"{host}:{port}"
    reference = Reference.parse(f"{domain}/{'/'.join(parts)}{target}")
    assert parse_path(manifest_path(reference)) == reference
    assert ":" not in manifest_path(reference)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "blob",
        "blob/",
        "blob/readme",
        f"blob/{HEX}",
        f"blob/sha256:{HEX}",
        f"blob/sha256-{HEX[:-1]}",
        f"blob/sha256-{HEX.upper()}",
        f"blob/sha512-{HEX}",
        f"blob/sub/sha256-{HEX}",
        f"blob/sha256-{HEX}.tmp",
        "manifests",
        "manifests/quay.io",
        "manifests/quay.io/reference/v1",
        "manifests/quay.io/a/v1",
        "manifests/quay.io/a/tag/v1",
        "manifests/quay.io/a/reference/",
        "manifests/quay.io/a/reference/-bad",
        "manifests/quay.io/A/reference/v1",
        "manifests/quay.io/a/digest/v1",
        f"manifests/quay.io/a/digest/sha256:{HEX}",
        "manifests/quay.io:5000/a/reference/v1",
        "manifests/docker.io/alpine/reference/v1",
        "manifests/index.docker.io/library/alpine/reference/v1",
        "manifests/[__1]/a/reference/v1",
        "manifests/[::1]/a/reference/v1",
        "elsewhere/quay.io/a/reference/v1",
        "manifests/../a/reference/v1",
        "manifests/quay.io/../a/reference/v1",
        "manifests/noregistry/a/reference/v1",
        f"blobs/sha256-{HEX}",
        "readme.txt",
    ],
)
def test_other_paths_are_no_part_of_a_cache(path: str) -> None:
    assert parse_path(path) is None


@given(st.text(max_size=80))
def test_no_path_raises(path: str) -> None:
    parse_path(path)
    parse_path(f"manifests/{path}")
    parse_path(f"blob/sha256-{path}")
