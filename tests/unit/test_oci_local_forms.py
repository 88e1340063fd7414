"""Local images in all the forms that tools write, made by hand from the specifications."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import zstandard

from imager.cache.plan import CacheLayout, CreateOptions
from imager.cache.resolve import gather
from imager.cache.selection import Selection, parse_platforms
from imager.cache.write import write_gathered
from imager.oci.local import LocalImage, Opened, parse_entry
from imager.oci.location import may_be_image, open_local_image, parse_place
from imager.oci.platform import Platform
from imager.oci.reference import Reference
from imager.support.errors import HostError, InputError
from imager.support.reporter import ProgressStyle, make_reporter
from tests.lib.caches.caches import (
    INDEX_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    descriptor,
    dump,
    image_index,
    image_manifest,
    sha256,
    tree_files,
)
from tests.lib.tools.support import open_files

ONE, TWO = b"layer one " * 500, b"layer two " * 3000
NAME, OTHER = "registry.local/team/app:v1", "registry.local/team/other:v2"
CONTAINERD = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"
Files = dict[str, bytes]


def blob_name(data: bytes) -> str:
    return f"blobs/sha256/{sha256(data)}"


def config_of(arch: str, *layers: bytes) -> bytes:
    diff_ids = [f"sha256:{sha256(layer)}" for layer in layers]
    return dump({"os": "linux", "architecture": arch, "rootfs": {"diff_ids": diff_ids}})


def image_of(arch: str, *layers: bytes, gzipped: bool = False) -> tuple[bytes, Files]:
    """Return a manifest, and the blobs of its image in a layout with itself."""
    config = config_of(arch, *layers)
    stored = [gzip.compress(layer, mtime=0) if gzipped else layer for layer in layers]
    kind = f"{LAYER_TYPE}+gzip" if gzipped else LAYER_TYPE
    manifest = image_manifest(config, stored, layer_type=kind)
    return manifest, {blob_name(each): each for each in (config, manifest, *stored)}


def layout_of(*entries: Mapping[str, object], blobs: Files) -> Files:
    index = image_index(entries)
    return {"oci-layout": dump({"imageLayoutVersion": "1.0.0"}), "index.json": index, **blobs}


def named(
    manifest: bytes, name: str, *, kind: str = MANIFEST_TYPE, key: str = CONTAINERD
) -> dict[str, object]:
    return descriptor(kind, manifest, annotations={key: name})


def write_tar(
    path: Path, files: Mapping[str, bytes], pack: Callable[[bytes], bytes] = bytes
) -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    path.write_bytes(pack(buffer.getvalue()))
    return path


def write_folder(path: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def opened(text: str) -> Opened:
    local = parse_entry(text)
    assert isinstance(local, LocalImage)
    return local.open()


def roots(text: str) -> dict[str, bytes]:
    return {str(name): image.root().raw for name, image in opened(text).images}


def cached(text: str, folder: Path, *, platforms: str = "linux/amd64") -> tuple[Files, list[str]]:
    """Make a flat cache of an entry; return its files and the warnings."""
    client: Any = None
    selection = Selection(parse_platforms([platforms]))
    gathered = gather([text], client=client, selection=selection, jobs=2)
    options = CreateOptions(CacheLayout.FLAT)
    write_gathered(gathered, folder, options=options, reporter=make_reporter(ProgressStyle.NONE))
    return tree_files(folder), gathered.warnings


def expected(name: str, manifest: bytes, blobs: Files) -> Files:
    repository, _, tag = name.rpartition(":")
    place = f"manifests/{repository}"
    others = {f"blob/sha256-{n.rpartition('/')[2]}": d for n, d in blobs.items() if d != manifest}
    return {
        f"{place}/reference/{tag}": manifest,
        f"{place}/digest/sha256-{sha256(manifest)}": manifest,
        **others,
    }


PACKS: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zstd": zstandard.compress,
}


def saved(name: str, *layers: bytes, stored: Files) -> bytes:
    """Return the manifest.json of `docker save`."""
    names = [each for each in stored if not each.endswith(sha256(config_of("amd64", *layers)))]
    config = blob_name(config_of("amd64", *layers))
    return json.dumps([{"Config": config, "RepoTags": [name], "Layers": names}]).encode()


@pytest.mark.parametrize("pack", PACKS)
def test_an_oci_archive(tmp_path: Path, pack: str) -> None:
    manifest, blobs = image_of("amd64", TWO, ONE, gzipped=True)
    files = layout_of(named(manifest, NAME), blobs=blobs)
    path = write_tar(tmp_path / "a", files, PACKS[pack])
    found = cached(f"oci-archive:{path}", tmp_path / "cache")
    assert found == (expected(NAME, manifest, blobs), [])


@pytest.mark.parametrize("pack", PACKS)
def test_a_docker_archive(tmp_path: Path, pack: str) -> None:
    manifest, blobs = image_of("amd64", TWO, ONE)
    del blobs[blob_name(manifest)]
    files = {**blobs, "manifest.json": saved(NAME, TWO, ONE, stored=blobs)}
    path = write_tar(tmp_path / "a", files, PACKS[pack])
    tree, (warning,) = cached(f"docker-archive:{path}", tmp_path / "cache")
    (made,) = {data for name, data in tree.items() if "/reference/" in name}
    assert "by digest will not match" in warning
    assert tree == expected(NAME, made, blobs)
    # From Docker 25 on, a layout is in it as well.
    files |= layout_of(named(manifest, NAME), blobs={blob_name(manifest): manifest})
    path = write_tar(tmp_path / "b", files, PACKS[pack])
    found = cached(f"docker-archive:{path}", tmp_path / "other")
    assert found == (expected(NAME, manifest, blobs), [])


def test_a_compressed_archive_leaves_no_file_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, blobs = image_of("amd64", ONE)
    path = write_tar(tmp_path / "a", layout_of(named(manifest, NAME), blobs=blobs), PACKS["gzip"])
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    found = opened(f"oci-archive:{path}")
    assert list(scratch.iterdir()) == []
    assert open_files(scratch) == 1
    del found
    assert open_files(scratch) == 0


def test_no_space_for_a_compressed_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tar(tmp_path / "a", {"x": bytes(1 << 22)}, PACKS["gzip"])
    monkeypatch.setattr(
        tempfile,
        "TemporaryFile",
        lambda *, dir: Path("/dev/full").open("r+b", 0),  # noqa: A006, SIM115
    )
    with pytest.raises(HostError, match=f"no space to decompress {path}") as caught:
        opened(f"oci-archive:{path}")
    assert "TMPDIR" in caught.value.hint


@pytest.mark.parametrize("pack", ["gzip", "zstd"])
def test_a_truncated_archive(tmp_path: Path, pack: str) -> None:
    manifest, blobs = image_of("amd64", hashlib.sha256(b"x").digest() * 9999)
    path = write_tar(tmp_path / "a", layout_of(named(manifest, NAME), blobs=blobs), PACKS[pack])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=f"{path} is not a whole {pack} stream"):
        opened(f"oci-archive:{path}")


def test_all_images_of_an_archive(tmp_path: Path) -> None:
    (one, first), (two, second) = image_of("amd64", ONE), image_of("amd64", TWO)
    entries = [named(one, NAME), named(two, OTHER), named(two, f"{OTHER}-again", key=REF_NAME)]
    path = write_tar(tmp_path / "oci", layout_of(*entries, blobs=first | second))
    images = {NAME: one, OTHER: two, f"{OTHER}-again": two}
    assert roots(f"oci-archive:{path}") == images
    assert (
        roots(f"oci:{write_folder(tmp_path / 'folder', layout_of(*entries, blobs=first | second))}")
        == images
    )
    assert roots(f"oci-archive:{path}:{OTHER}") == {OTHER: two}
    assert roots(f"a.example/b:c=oci-archive:{path}:{OTHER}") == {"a.example/b:c": two}
    listed = [
        {
            "Config": blob_name(config_of("amd64", ONE)),
            "RepoTags": [NAME, "alpine:3"],
            "Layers": [blob_name(ONE)],
        },
        {
            "Config": blob_name(config_of("amd64", TWO)),
            "RepoTags": [OTHER],
            "Layers": [blob_name(TWO)],
        },
        {
            "Config": blob_name(config_of("amd64", TWO)),
            "RepoTags": None,
            "Layers": [blob_name(TWO)],
        },
    ]
    docker = write_tar(
        tmp_path / "docker", first | second | {"manifest.json": json.dumps(listed).encode()}
    )
    found = opened(f"docker-archive:{docker}")
    names = [NAME, "docker.io/library/alpine:3", OTHER]
    assert [str(name) for name, _ in found.images] == names
    (warning,) = found.warnings
    assert "skipped 1 image without a full name" in warning
    assert list(roots(f"docker-archive:{docker}:alpine:3")) == names[1:2]
    with pytest.raises(InputError, match="3 images"):
        opened(f"{NAME}=docker-archive:{docker}")
    # Options that take one image choose it in the same way.
    for text, image in {
        f"oci-archive:{path}:{OTHER}": two,
        f"oci:{tmp_path}/folder:{NAME}": one,
        f"docker-archive:{docker}:alpine:3": dict(found.images)[Reference.parse(NAME)].root().raw,
    }.items():
        place = parse_place(text)
        assert isinstance(place, Path)
        assert may_be_image(place)
        assert open_local_image(place, Platform("linux", "amd64")).root().raw == image


def test_the_layout_in_a_docker_archive_keeps_the_digest(tmp_path: Path) -> None:
    """As containerd's store saves it: the index of the registry, of which one platform is there."""
    manifest, blobs = image_of("amd64", ONE, gzipped=True)
    other = descriptor(
        MANIFEST_TYPE, b"elsewhere", platform={"os": "linux", "architecture": "arm64"}
    )
    entry = descriptor(MANIFEST_TYPE, manifest, platform={"os": "linux", "architecture": "amd64"})
    index = image_index([other, entry])
    blobs[blob_name(index)] = index
    stored = {name: data for name, data in blobs.items() if data.startswith(b"\x1f\x8b")}
    for key, name in ((CONTAINERD, NAME), (REF_NAME, "v1")):
        files = layout_of(named(index, name, kind=INDEX_TYPE, key=key), blobs=blobs)
        files["manifest.json"] = saved(NAME, ONE, stored=stored)
        path = write_tar(tmp_path / "a.tar", files)
        for text in (f"docker-archive:{path}", f"docker-archive:{path}:{NAME}"):
            assert roots(text) == {NAME: index}
        for place in (path, Path(f"{path}:{name}"), Path(f"{path}:{NAME}")):
            assert open_local_image(place, Platform("linux", "amd64")).root().raw == index
    tree, warnings = cached(f"docker-archive:{path}", tmp_path / "cache")
    assert tree[f"manifests/registry.local/team/app/digest/sha256-{sha256(index)}"] == index
    assert f"manifests/registry.local/team/app/digest/sha256-{sha256(manifest)}" in tree
    assert warnings == []
    with pytest.raises(InputError, match="linux/arm64 is listed in the index, but missing"):
        cached(f"docker-archive:{path}", tmp_path / "arm", platforms="linux/arm64")


def test_a_folder_of_skopeo(tmp_path: Path) -> None:
    manifest, blobs = image_of("amd64", ONE)
    files = {name.rpartition("/")[2]: data for name, data in blobs.items() if data != manifest}
    folder = write_folder(
        tmp_path / "a:b", {**files, "manifest.json": manifest, "version": b"1.1\n"}
    )
    tree, warnings = cached(f"{NAME}=dir:{folder}", tmp_path / "cache")
    assert (tree, warnings) == (expected(NAME, manifest, blobs), [])


def test_a_folder_of_skopeo_with_several_platforms(tmp_path: Path) -> None:
    parts = {arch: image_of(arch, ONE) for arch in ("amd64", "arm64")}
    entries = [
        descriptor(MANIFEST_TYPE, manifest, platform={"os": "linux", "architecture": arch})
        for arch, (manifest, _) in parts.items()
    ]
    index = image_index(entries)
    files = {"manifest.json": index}
    for manifest, blobs in parts.values():
        files |= {name.rpartition("/")[2]: data for name, data in blobs.items()}
        files[f"{sha256(manifest)}.manifest.json"] = files.pop(sha256(manifest))
    folder = write_folder(tmp_path / "folder", files)
    tree, _ = cached(f"{NAME}=dir:{folder}", tmp_path / "cache", platforms="all")
    wanted: Files = {}
    for manifest, blobs in parts.values():
        wanted |= expected(NAME, manifest, blobs)
    assert tree == wanted | {
        "manifests/registry.local/team/app/reference/v1": index,
        f"manifests/registry.local/team/app/digest/sha256-{sha256(index)}": index,
    }
    (folder / f"{sha256(parts['arm64'][0])}.manifest.json").write_bytes(b"{}")
    with pytest.raises(InputError):
        cached(f"{NAME}=dir:{folder}", tmp_path / "again", platforms="all")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{n}=dir:{f}", "has no manifest.json"),
        ("oci-archive:{f}", "is a folder, not an archive"),
        ("oci-archive:{f}/none", "does not exist"),
        ("oci-archive:{f}/tar", "is not an OCI archive"),
        ("docker-archive:{f}/tar", "is not a Docker archive"),
    ],
)
def test_what_is_something_else(tmp_path: Path, text: str, why: str) -> None:
    write_tar(tmp_path / "tar", {"x": b"y"})
    with pytest.raises(InputError, match=why):
        opened(text.format(n=NAME, f=tmp_path))


def test_an_image_of_two_sources_counts_once(tmp_path: Path) -> None:
    manifest, blobs = image_of("amd64", ONE)
    files = {name.rpartition("/")[2]: data for name, data in blobs.items() if data != manifest}
    folders = [
        write_folder(tmp_path / name, {**files, "manifest.json": manifest, "version": b"1.1\n"})
        for name in ("a", "b")
    ]
    client: Any = None
    entries = [f"{NAME}=dir:{folder}" for folder in folders]
    selection = Selection(parse_platforms(["linux/amd64"]))
    assert gather(entries, client=client, selection=selection, jobs=1).images == 1
