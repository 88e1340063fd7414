"""Local sources as an image list names them."""

from __future__ import annotations

from pathlib import Path

import pytest

from imager.oci import layout as lay
from imager.oci import manifest as m
from imager.oci.digest import Digest
from imager.oci.local import LocalImage, LocalKind, RemoteEntry, parse_entry
from imager.oci.reference import Reference
from imager.support.errors import InputError

MANIFEST = m.manifest_json(m.Descriptor(m.OCI_CONFIG, Digest.of(b"{}"), 2), [])
HUB = Reference.parse("alpine")
NAME = Reference.parse("ghcr.io/x/y:v1")


def make_layout(folder: Path, **annotations: str) -> Path:
    path = folder / lay.blob_path(Digest.of(MANIFEST))
    path.parent.mkdir(parents=True)
    path.write_bytes(MANIFEST)
    names = tuple(annotations.items())
    entry = m.Descriptor(m.OCI_MANIFEST, Digest.of(MANIFEST), len(MANIFEST), None, names)
    (folder / "index.json").write_bytes(m.index_json([entry]))
    (folder / "oci-layout").write_bytes(lay.oci_layout_json())
    return folder


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oci:dir", LocalImage(LocalKind.LAYOUT, Path("dir"))),
        ("oci:/a/dir:v1", LocalImage(LocalKind.LAYOUT, Path("/a/dir"), "v1")),
        ("oci:/a=b", LocalImage(LocalKind.LAYOUT, Path("/a=b"))),
        ("ghcr.io/x/y:v1=oci:dir:tag", LocalImage(LocalKind.LAYOUT, Path("dir"), "tag", NAME)),
        (
            "ghcr.io/x/y:v1=docker-archive:f.tar",
            LocalImage(LocalKind.DOCKER_ARCHIVE, Path("f.tar"), None, NAME),
        ),
        (
            "docker-archive:f.tar:ghcr.io/x/y:v1",
            LocalImage(LocalKind.DOCKER_ARCHIVE, Path("f.tar"), "ghcr.io/x/y:v1"),
        ),
        ("oci-archive:f.tar", LocalImage(LocalKind.OCI_ARCHIVE, Path("f.tar"))),
        ("ghcr.io/x/y:v1=dir:a:b", LocalImage(LocalKind.FOLDER, Path("a:b"), None, NAME)),
        ("ghcr.io/x/y:v1", RemoteEntry(NAME, NAME)),
        ("docker://ghcr.io/x/y:v1", RemoteEntry(NAME, NAME)),
        ("alpine", RemoteEntry(HUB, HUB)),
        ("docker://alpine", RemoteEntry(HUB, HUB)),
        ("ghcr.io/x/y:v1=docker://alpine", RemoteEntry(NAME, HUB)),
    ],
)
def test_parses(text: str, expected: LocalImage | RemoteEntry) -> None:
    assert parse_entry(text) == expected


@pytest.mark.parametrize(
    "text",
    ["oci:", "a=b", "ghcr.io/x=oci", "=oci:x", "docker://", "x=docker://", "x=dir:"],
)
def test_refuses(text: str) -> None:
    with pytest.raises(InputError, match=r"not an image source|image reference ''"):
        parse_entry(text)


def opened(text: str) -> tuple[Reference, m.RawManifest]:
    local = parse_entry(text)
    assert isinstance(local, LocalImage)
    ((name, source),) = local.open().images
    return name, source.root()


def test_takes_the_name_that_is_written(tmp_path: Path) -> None:
    folder = make_layout(tmp_path / "l", **{lay.REF_NAME: "v9"})
    assert opened(f"ghcr.io/x/y:v1=oci:{folder}:v9") == (NAME, m.RawManifest.parse(MANIFEST))
    pinned = f"ghcr.io/x/y@{Digest.of(MANIFEST)}"
    assert opened(f"{pinned}=oci:{folder}")[0] == Reference.parse(pinned)


def test_takes_the_name_the_source_tells(tmp_path: Path) -> None:
    first = make_layout(tmp_path / "a", **{lay.REF_NAME: str(NAME)})
    second = make_layout(tmp_path / "b", **{lay.REF_NAME: "v1", lay.CONTAINERD_NAME: str(NAME)})
    assert opened(f"oci:{first}")[0] == opened(f"oci:{second}")[0] == NAME
    assert opened(f"oci:{second}:v1")[0] == NAME


def test_refuses_an_image_without_a_name(tmp_path: Path) -> None:
    folder = make_layout(tmp_path / "l", **{lay.REF_NAME: "v1"})
    with pytest.raises(InputError, match="no full name") as caught:
        opened(f"oci:{folder}")
    assert f"NAME=oci:{folder}" in caught.value.hint


def test_refuses_a_name_that_pins_another_digest(tmp_path: Path) -> None:
    folder = make_layout(tmp_path / "l")
    with pytest.raises(InputError, match="its digest is sha256:"):
        opened(f"ghcr.io/x/y@{Digest.of(b'')}=oci:{folder}")


def test_a_folder_of_skopeo_needs_a_name() -> None:
    with pytest.raises(InputError, match="does not name its image") as caught:
        parse_entry("dir:folder")
    assert "write NAME=dir:folder," in caught.value.hint
