"""References: the grammar and normalisation of github.com/distribution/reference."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imager.oci.digest import Digest
from imager.oci.reference import Reference
from imager.support.errors import ImagerError, InputError, UnsupportedError

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:3.20", "docker.io/library/alpine:3.20"),
        ("siderolabs/kubelet:v1", "docker.io/siderolabs/kubelet:v1"),
        ("docker.io/alpine", "docker.io/library/alpine:latest"),
        ("index.docker.io/alpine:3", "docker.io/library/alpine:3"),
        ("index.docker.io/a/b", "docker.io/a/b:latest"),
        ("localhost/foo", "localhost/foo:latest"),
        ("localhost:5000/foo:v1", "localhost:5000/foo:v1"),
        ("host:5000/a/b/c", "host:5000/a/b/c:latest"),
        ("ghcr.io/a/b:v1.0_x-y", "ghcr.io/a/b:v1.0_x-y"),
        ("UPPER/foo:v1", "UPPER/foo:v1"),
        ("[::1]:5000/foo:v1", "[::1]:5000/foo:v1"),
        ("127.0.0.1/a__b/c-.d".replace("-.", "---"), "127.0.0.1/a__b/c---d:latest"),
        (f"ghcr.io/a@sha256:{HEX}", f"ghcr.io/a@sha256:{HEX}"),
        (f"ghcr.io/a:v1@sha256:{HEX}", f"ghcr.io/a:v1@sha256:{HEX}"),
    ],
)
def test_parses_and_expands(text: str, full: str) -> None:
    assert str(Reference.parse(text)) == full


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "repository name"),
        ("Alpine", "lower case"),
        ("ghcr.io/A", "lower case"),
        ("ghcr.io/", "repository name"),
        ("ghcr.io//a", "repository name"),
        ("ghcr.io/a/", "repository name"),
        ("/a", "repository name"),
        ("../a:v1", "registry"),
        ("./a:v1", "registry"),
        ("ghcr.io/../a", "repository name"),
        ("ghcr.io/a/../../etc", "repository name"),
        ("ghcr.io/a:", "tag"),
        ("ghcr.io/a:.x", "tag"),
        ("ghcr.io/a:-x", "tag"),
        ("ghcr.io/a:" + "x" * 129, "tag"),
        ("ghcr.io/a:x/y", "registry|repository"),
        ("ghcr.io/a b", "repository name"),
        ("ghcr.io/a\n", "repository name"),
        ("ghcr.io/a:v1\n", "tag"),
        ("ghcr.io/a\x00", "repository name"),
        ("ghcr.io/ä", "repository name"),
        ("ghcr.io/a:\u0661", "tag"),
        ("-host.io/a", "registry"),
        ("host:0/a", "registry"),
        ("host:65536/a", "registry"),
        ("host:x/a", "registry"),
        ("[:::]/a:v1", "registry"),
        ("[::1/a:v1", "registry"),
        ("https://ghcr.io/a", "registry"),
        ("user@ghcr.io/a", "digest"),
        ("ghcr.io/a@sha256:12", "digest"),
        (f"ghcr.io/a@sha256:{'A' * 64}", "digest"),
        ("ghcr.io/a@", "digest"),
        (HEX, "image id"),
        ("ghcr.io/" + "a" * 250, "255"),
        ("a" * 5000, "too long"),
    ],
)
def test_refuses(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        Reference.parse(text)


def test_refuses_another_algorithm_as_unsupported() -> None:
    with pytest.raises(UnsupportedError, match="sha512"):
        Reference.parse(f"ghcr.io/a@sha512:{HEX}{HEX}")


@pytest.mark.parametrize(
    "text", ["ghcr.io/a:v1", "localhost/a:v1", f"h:5000/a@sha256:{HEX}", "docker.io/alpine:3"]
)
def test_strict_takes_full_references(text: str) -> None:
    assert Reference.parse_strict(text) == Reference.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "alpine",
        "alpine:3",
        "a/b:v1",
        "ghcr.io/a",
        "./image-cache.oci",
        "/x/image-cache.oci",
        "image-cache.oci",
        "out/image-cache.oci:v1",
        "../cache.oci:v1",
        "cache.d/oci",
    ],
)
def test_strict_leaves_paths_alone(text: str) -> None:
    with pytest.raises(InputError):
        Reference.parse_strict(text)


_label = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
_component = st.from_regex(r"[a-z0-9]{1,6}((\.|_|__|-{1,3})[a-z0-9]{1,6}){0,2}", fullmatch=True)
_registries = st.builds(
    lambda labels, port: ".".join(labels) + (f":{port}" if port else ""),
    st.lists(_label, min_size=2, max_size=3),
    st.integers(0, 65535),
)
_references = st.builds(
    Reference,
    _registries.filter(lambda name: name != "index.docker.io"),
    st.lists(_component, min_size=2, max_size=4).map("/".join),
    st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,20}", fullmatch=True),
    st.none() | st.from_regex(r"[0-9a-f]{64}", fullmatch=True).map(Digest),
)


@given(_references)
def test_text_and_value_round_trip(reference: Reference) -> None:
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse_strict(str(reference)) == reference


@given(st.text(max_size=80))
def test_any_text_is_a_reference_or_an_error_and_never_a_path_upwards(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except ImagerError:
        return
    assert Reference.parse(str(reference)) == reference
    assert ".." not in reference.registry.split("/")
    assert all(part not in ("", ".", "..") for part in reference.repository.split("/"))


def test_target_prefers_the_digest() -> None:
    assert Reference.parse("a:v1").target == "v1"
    assert Reference.parse(f"a:v1@sha256:{HEX}").target == Digest(HEX)
