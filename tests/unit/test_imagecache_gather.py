"""What a cache of images holds, from image sources in memory."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from imager.errors import DependencyError, ImagerError, InputError
from imager.extents import Content
from imager.imagecache.gather import Gathered, Selection, gather
from imager.imagecache.layercache import LayerCache
from imager.oci.digest import Digest
from imager.oci.manifest import Descriptor, ImageManifest, RawManifest
from imager.oci.platform import Platform
from imager.oci.reference import Reference
from imager.oci.source import ByteSink, NotFoundError
from tests.caches import (
    CONFIG_TYPE,
    INDEX_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    descriptor,
    dump,
    sha256,
)

HOST = "registry.local"
AMD64 = Selection((Platform("linux", "amd64"),))
ALL = Selection(())


@dataclasses.dataclass
class Memory:
    """A registry of one repository; stands for the client and for its images."""

    blobs: dict[str, bytes] = dataclasses.field(default_factory=dict)
    tags: dict[str, bytes] = dataclasses.field(default_factory=dict)
    fails: dict[str, ImagerError] = dataclasses.field(default_factory=dict)
    fetched: list[str] = dataclasses.field(default_factory=list)

    def image(self, reference: Reference) -> MemoryImage:
        return MemoryImage(self, reference)

    def add(self, data: bytes) -> bytes:
        self.blobs[f"sha256:{sha256(data)}"] = data
        return data


@dataclasses.dataclass
class MemoryImage:
    memory: Memory
    reference: Reference
    warnings: tuple[str, ...] = ()

    def root(self) -> RawManifest:
        return self.manifest(self.reference.target)

    def locate(self) -> tuple[RawManifest, None]:
        return self.root(), None

    def find_at(self, _host: None) -> RawManifest | None:
        try:
            return self.root()
        except NotFoundError:
            return None

    def manifest(self, target: str | Digest) -> RawManifest:
        key = str(target)
        if key in self.memory.fails:
            raise self.memory.fails[key]
        if key in self.memory.tags:
            return RawManifest.parse(self.memory.tags[key])
        if key in self.memory.blobs:
            return RawManifest.parse(self.memory.blobs[key])
        raise NotFoundError(f"no {target}")

    def blob_content(self, blob: Descriptor) -> Content | None:
        return None

    def fetch_blob(self, blob: Descriptor, sink: ByteSink, *, have: Iterable[bytes] = ()) -> None:
        self.memory.fetched.append(str(blob.digest))
        sink.write(self.memory.blobs[str(blob.digest)])


def make_image(
    memory: Memory,
    config: Mapping[str, Any] | bytes,
    *,
    layers: Sequence[bytes] = (b"layer",),
    tag: str = "",
    sizes: dict[str, object] | None = None,
) -> bytes:
    raw = config if isinstance(config, bytes) else dump(config)
    manifest = dump(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor(CONFIG_TYPE, memory.add(raw)),
            "layers": [
                descriptor(LAYER_TYPE, memory.add(layer)) | (sizes or {}) for layer in layers
            ],
        }
    )
    memory.add(manifest)
    if tag:
        memory.tags[tag] = manifest
    return manifest


def make_index(memory: Memory, entries: Sequence[object], *, tag: str = "") -> bytes:
    index = memory.add(
        json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries}).encode()
    )
    if tag:
        memory.tags[tag] = index
    return index


def entry(manifest: bytes, platform: str) -> dict[str, object]:
    os, architecture, *variant = platform.split("/")
    value = {"os": os, "architecture": architecture} | ({"variant": variant[0]} if variant else {})
    return descriptor(MANIFEST_TYPE, manifest, platform=value)


def gathered(
    memory: Memory,
    *entries: str,
    selection: Selection = AMD64,
    warnings: list[str] | None = None,
    layer_cache: LayerCache | None = None,
) -> Gathered:
    client: Any = memory
    found = gather(entries, client=client, selection=selection, jobs=3, layer_cache=layer_cache)
    if warnings is not None:
        warnings += found.warnings
    return found


def config_of(arch: str, **more: object) -> dict[str, object]:
    return {"os": "linux", "architecture": arch, **more}


def test_an_image_of_one_platform() -> None:
    memory = Memory()
    manifest = make_image(memory, config_of("amd64"), layers=[b"one", b"two"], tag="v1")

    found = gathered(memory, f"{HOST}:5000/team/app:v1")

    folder = f"manifests/{HOST}_5000_/team/app"
    assert found.manifests == {
        f"{folder}/reference/v1": manifest,
        f"{folder}/digest/sha256-{sha256(manifest)}": manifest,
    }
    names = {sha256(data) for data in (b"one", b"two", dump(config_of("amd64")))}
    assert {digest.hex for digest in found.blobs} == names
    assert found.platforms == {Platform("linux", "amd64")}


@pytest.mark.parametrize(
    ("damage", "fetched"), [("", 0), ("another platform", 1), ("another size", 1), ("none", 1)]
)
def test_a_configuration_comes_from_the_layer_cache(
    tmp_path: Path, damage: str, fetched: int
) -> None:
    memory = Memory()
    manifest = RawManifest.parse(make_image(memory, config_of("amd64"), tag="v1")).document
    assert isinstance(manifest, ImageManifest)
    cache, raw = LayerCache.open(tmp_path), dump(config_of("amd64"))
    stored = {
        "another platform": raw.replace(b"amd64", b"arm64"),
        "another size": raw + b" ",
    }
    if damage != "none":
        cache.path(manifest.config).write_bytes(stored.get(damage, raw))

    found = gathered(memory, f"{HOST}/team/app:v1", layer_cache=cache)

    assert found.platforms == {Platform("linux", "amd64")}
    assert len(memory.fetched) == fetched
    assert manifest.config.digest in found.blobs


def test_short_names_are_expanded() -> None:
    memory = Memory()
    make_image(memory, config_of("amd64"), tag="latest")
    assert "manifests/docker.io/library/app/reference/latest" in gathered(memory, "app").manifests


def test_an_index_gives_the_wanted_platforms_alone() -> None:
    memory = Memory()
    arches = ("amd64", "arm64", "s390x")
    manifests = {
        arch: make_image(memory, config_of(arch), layers=[arch.encode()]) for arch in arches
    }
    entries = [entry(manifest, f"linux/{arch}") for arch, manifest in manifests.items()]
    index = make_index(memory, entries, tag="v1")
    folder = f"manifests/{HOST}/team/app"

    some = Selection.parse(["linux/arm64/v8", "linux/amd64"])
    found = gathered(memory, f"{HOST}/team/app:v1", selection=some)

    assert set(found.manifests) == {
        f"{folder}/reference/v1",
        *(
            f"{folder}/digest/sha256-{sha256(data)}"
            for data in (index, manifests["amd64"], manifests["arm64"])
        ),
    }
    assert found.platforms == {Platform("linux", "amd64"), Platform("linux", "arm64")}
    everything = gathered(memory, f"{HOST}/team/app:v1", selection=ALL)
    assert len(everything.platforms) == 3
    assert len(everything.manifests) == 5


def test_a_reference_by_digest_alone_writes_no_tag() -> None:
    memory = Memory()
    manifest = make_image(memory, config_of("amd64"))
    digest = sha256(manifest)

    found = gathered(memory, f"{HOST}/team/app@sha256:{digest}")
    assert set(found.manifests) == {f"manifests/{HOST}/team/app/digest/sha256-{digest}"}

    found = gathered(memory, f"{HOST}/team/app:v7@sha256:{digest}")
    assert f"manifests/{HOST}/team/app/reference/v7" in found.manifests


def test_a_platform_under_another_name() -> None:
    memory = Memory()
    make_image(memory, config_of("x86_64"), tag="v1")
    assert gathered(memory, f"{HOST}/app:v1").platforms == {Platform("linux", "amd64")}


def test_an_image_for_another_platform_alone() -> None:
    memory = Memory()
    make_image(memory, config_of("arm64"), tag="v1")
    with pytest.raises(InputError, match="linux/arm64 alone, not for linux/amd64") as caught:
        gathered(memory, f"{HOST}/app:v1")
    assert caught.value.message.startswith(f"{HOST}/app:v1: ")
    assert "--platform" in caught.value.hint
    assert gathered(memory, f"{HOST}/app:v1", selection=ALL).platforms == {
        Platform("linux", "arm64")
    }


def test_an_entry_of_an_index_under_another_name() -> None:
    memory = Memory()
    manifest = make_image(memory, config_of("aarch64"))
    make_index(memory, [entry(manifest, "linux/aarch64/v8")], tag="v1")
    found = gathered(memory, f"{HOST}/app:v1", selection=Selection.parse(["linux/arm64"]))
    assert found.platforms == {Platform("linux", "arm64")}


def test_an_index_without_the_platform() -> None:
    memory = Memory()
    make_index(memory, [entry(make_image(memory, config_of("arm64")), "linux/arm64")], tag="v1")
    with pytest.raises(InputError, match="no image for linux/amd64") as caught:
        gathered(memory, f"{HOST}/app:v1")
    assert "linux/arm64" in caught.value.hint


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"{}",
        b"[]",
        b'"linux"',
        b"\xff\xfe",
        b'{"os": null, "architecture": "amd64"}',
        b'{"os": "linux", "architecture": {}}',
        b'{"os": "linux", "architecture": "../../etc"}',
        b"[" * 200_000,
    ],
)
def test_a_configuration_without_a_platform(config: bytes) -> None:
    memory = Memory()
    make_image(memory, config, tag="v1")
    with pytest.raises(InputError):
        gathered(memory, f"{HOST}/app:v1")


def test_a_configuration_that_is_too_large() -> None:
    memory = Memory()
    make_image(memory, b" " * ((4 << 20) + 1), tag="v1")
    with pytest.raises(InputError, match="its configuration has 4194305 bytes"):
        gathered(memory, f"{HOST}/app:v1")


def test_all_failures_are_told_together() -> None:
    memory = Memory(fails={"down": DependencyError("no answer", hint="ask again")})
    make_image(memory, config_of("amd64"), tag="v1")
    entries = [f"{HOST}/a:gone", f"{HOST}/b:v1", f"{HOST}/c:down", "Bad//name", f"{HOST}/d:gone"]

    with pytest.raises(InputError) as caught:
        gathered(memory, *entries)

    message = caught.value.message
    assert message.startswith("4 images failed:")
    lines = message.splitlines()[1:]
    assert [line.strip().partition(": ")[0] for line in lines] == [
        each for each in entries if each != f"{HOST}/b:v1"
    ]


def test_one_failure_keeps_its_kind() -> None:
    memory = Memory(fails={"down": DependencyError("no answer", hint="ask again")})
    with pytest.raises(DependencyError, match=f"^{HOST}/c:down: no answer$") as caught:
        gathered(memory, f"{HOST}/c:down")
    assert caught.value.hint == "ask again"


def test_an_index_inside_of_an_index() -> None:
    memory = Memory()
    inner = make_index(memory, [entry(make_image(memory, config_of("amd64")), "linux/amd64")])
    platform = {"os": "linux", "architecture": "amd64"}
    make_index(memory, [descriptor(INDEX_TYPE, inner, platform=platform)], tag="v1")
    with pytest.raises(InputError, match="index inside of an index"):
        gathered(memory, f"{HOST}/app:v1")


def test_a_blob_has_one_size() -> None:
    memory = Memory()
    make_image(memory, config_of("amd64"), tag="v1")
    make_image(memory, config_of("amd64", n=2), tag="v2", sizes={"size": 6})
    with pytest.raises(InputError, match="has 6 bytes here and 5 elsewhere"):
        gathered(memory, f"{HOST}/app:v1", f"{HOST}/app:v2")


def test_a_name_is_of_one_image() -> None:
    memory = Memory()
    make_image(memory, config_of("amd64"), tag="v1")
    other = make_image(memory, config_of("amd64", n=2))
    pinned = f"{HOST}/app:v1@sha256:{sha256(other)}"
    for entries in ([f"{HOST}/app:v1", pinned], [pinned, f"{HOST}/app:v1"]):
        with pytest.raises(InputError, match=f"another image has the name {HOST}/app:v1"):
            gathered(memory, *entries)


def test_the_same_image_twice_is_no_conflict() -> None:
    memory = Memory()
    manifest = make_image(memory, config_of("amd64"), tag="v1")
    once = gathered(memory, f"{HOST}/app:v1")
    twice = gathered(memory, f"{HOST}/app:v1@sha256:{sha256(manifest)}", f"{HOST}/app:v1")
    assert once.manifests == twice.manifests


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["linux/amd64"], ["linux/amd64"]),
        (["linux/amd64, linux/aarch64"], ["linux/amd64", "linux/arm64"]),
        (
            ["linux/arm/v6", "linux/arm/v7", "linux/x86_64,"],
            ["linux/arm/v6", "linux/arm", "linux/amd64"],
        ),
        (["linux/amd64", "linux/amd64/v1"], ["linux/amd64"]),
        (["all"], []),
        (["linux/amd64,all"], []),
    ],
)
def test_platforms_as_they_are_written(texts: list[str], expected: list[str]) -> None:
    assert [str(each) for each in Selection.parse(texts).platforms] == expected


@pytest.mark.parametrize("text", ["", ",", "amd64", "linux", "linux/", "/amd64", "a/b/c/d", "ALL"])
def test_platforms_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="platform"):
        Selection.parse([text])


SIGNED = Selection(AMD64.platforms, signatures=True)


def test_an_image_under_its_own_digest_is_no_signature_of_itself() -> None:
    memory = Memory()
    manifest = make_image(memory, config_of("amd64"), tag="v1")
    memory.tags[f"sha256-{sha256(manifest)}"] = manifest
    plain = gathered(memory, f"{HOST}/app:v1")
    assert gathered(memory, f"{HOST}/app:v1", selection=SIGNED).manifests == plain.manifests


@pytest.mark.parametrize("kind", ["nested", "artifact", "digest", "json"])
def test_what_cannot_be_cached_of_signatures_is_left_out_whole(kind: str) -> None:
    memory = Memory()
    tag = f"sha256-{sha256(make_image(memory, config_of('amd64'), tag='v1'))}"
    good = descriptor(MANIFEST_TYPE, make_image(memory, b"{}", layers=[b"signature"]))
    nested = descriptor(INDEX_TYPE, make_index(memory, [good]))
    artifact = memory.add(dump({"mediaType": "application/vnd.oci.artifact.manifest.v1+json"}))
    memory.tags[tag] = {
        "nested": make_index(memory, [good, nested]),
        "artifact": make_index(memory, [good, descriptor(MANIFEST_TYPE, artifact)]),
        "digest": make_index(memory, [good | {"digest": f"sha512:{'0' * 128}"}]),
        "json": b"<html>",
    }[kind]
    warnings: list[str] = []
    found = gathered(memory, f"{HOST}/app:v1", selection=SIGNED, warnings=warnings)
    plain = gathered(memory, f"{HOST}/app:v1")
    assert (found.manifests, found.blobs.keys()) == (plain.manifests, plain.blobs.keys())
    assert [each.partition(": ")[0] for each in warnings] == ["signatures are left out"]
