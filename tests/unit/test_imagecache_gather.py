"""What a cache of images holds, from image sources in memory."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from imager.app.lock.images_lock import lock_images
from imager.cache.blobstore import BlobStore
from imager.cache.contents import Gathered
from imager.cache.resolve import gather
from imager.cache.selection import MissingPlatform, Selection, parse_platforms
from imager.content.extents import Content
from imager.oci.digest import Digest
from imager.oci.errors import InvalidReferenceError, NotFoundError
from imager.oci.manifest import Descriptor, ImageManifest, Index, RawManifest
from imager.oci.pins import Pins
from imager.oci.platform import Platform
from imager.oci.reference import Reference
from imager.oci.source import ByteSink
from imager.support.errors import DependencyError, ImagerError, InputError
from tests.lib.caches.caches import (
    CONFIG_TYPE,
    INDEX_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    descriptor,
    dump,
    image_index,
    sha256,
)

EMPTY = "application/vnd.oci.empty.v1+json"
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
    referrers: dict[str, list[object]] = dataclasses.field(default_factory=dict)
    refuses: ImagerError | None = None
    pins: Pins = dataclasses.field(default_factory=Pins)

    def image(self, reference: Reference) -> MemoryImage:
        return MemoryImage(self, self.pins.pinned(reference))

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

    def referrers(self, subject: Digest, _host: None) -> tuple[Descriptor, ...]:
        if self.memory.refuses is not None:
            raise self.memory.refuses
        entries = self.memory.referrers.get(str(subject), [])
        index = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
        document = RawManifest.parse(index, media_type=INDEX_TYPE).document
        assert isinstance(document, Index)
        return document.manifests

    def blob_content(self, blob: Descriptor) -> Content | None:
        if blob.is_foreign and str(blob.digest) not in self.memory.blobs:
            raise NotFoundError(f"no {blob.digest}")
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
    index = memory.add(image_index(entries))
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
    store: BlobStore | None = None,
) -> Gathered:
    client: Any = memory
    found = gather(entries, client=client, selection=selection, jobs=3, store=store)
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
    cache, raw = BlobStore.open(tmp_path), dump(config_of("amd64"))
    stored = {
        "another platform": raw.replace(b"amd64", b"arm64"),
        "another size": raw + b" ",
    }
    if damage != "none":
        cache.path(manifest.config).write_bytes(stored.get(damage, raw))

    found = gathered(memory, f"{HOST}/team/app:v1", store=cache)

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

    some = Selection(parse_platforms(["linux/arm64/v8", "linux/amd64"]))
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


def test_an_image_for_another_platform_alone_is_cached_with_a_warning() -> None:
    memory = Memory()
    make_image(memory, config_of("arm64"), tag="v1")
    warnings: list[str] = []
    found = gathered(memory, f"{HOST}/app:v1", warnings=warnings)
    assert warnings == [
        f"{HOST}/app:v1: this image is only for linux/arm64, not for linux/amd64; "
        "it is cached anyway"
    ]
    # The cache is for the platform that was asked for: readers choose by it.
    assert (found.platforms, found.index_platforms) == (set(), set(AMD64.platforms))
    assert len(found.blobs) == 2
    both = Selection(parse_platforms(["linux/amd64", "linux/arm64"]))
    found = gathered(memory, f"{HOST}/app:v1", selection=both, warnings=warnings)
    assert found.index_platforms == {Platform("linux", "arm64")}
    assert "not for linux/amd64" in warnings[1]
    everything = gathered(memory, f"{HOST}/app:v1", selection=ALL)
    assert (everything.platforms, everything.warnings) == ({Platform("linux", "arm64")}, [])


def test_an_entry_of_an_index_under_another_name() -> None:
    memory = Memory()
    manifest = make_image(memory, config_of("aarch64"))
    make_index(memory, [entry(manifest, "linux/aarch64/v8")], tag="v1")
    found = gathered(
        memory, f"{HOST}/app:v1", selection=Selection(parse_platforms(["linux/arm64"]))
    )
    assert found.platforms == {Platform("linux", "arm64")}


def test_an_index_without_the_platform() -> None:
    memory = Memory()
    make_index(memory, [entry(make_image(memory, config_of("arm64")), "linux/arm64")], tag="v1")
    with pytest.raises(InputError, match="no image for linux/amd64") as caught:
        gathered(memory, f"{HOST}/app:v1")
    assert caught.value.hint == "available: linux/arm64"


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
    manifest = make_image(memory, config, tag="v1")
    found = gathered(memory, f"{HOST}/app:v1")
    assert found.manifests[f"manifests/{HOST}/app/reference/v1"] == manifest
    assert (found.platforms, found.index_platforms) == (set(), set(AMD64.platforms))
    assert found.warnings == []
    # Others than linux/amd64 have it as well: there is no choice.
    arm64 = Selection(parse_platforms(["linux/arm64"]))
    found = gathered(memory, f"{HOST}/app:v1", selection=arm64)
    assert found.index_platforms == set(arm64.platforms)


def test_a_configuration_that_is_too_large() -> None:
    memory = Memory()
    make_image(memory, b" " * ((4 << 20) + 1), tag="v1")
    with pytest.raises(InputError, match="its configuration of 4194305 bytes"):
        gathered(memory, f"{HOST}/app:v1")


def test_all_failures_are_told_together() -> None:
    memory = Memory(fails={"down": DependencyError("no answer", hint="ask again")})
    make_image(memory, config_of("amd64"), tag="v1")
    entries = [f"{HOST}/a:gone", f"{HOST}/b:v1", f"{HOST}/c:down", f"{HOST}/d:gone"]

    with pytest.raises(InputError) as caught:
        gathered(memory, *entries)

    message = caught.value.message
    assert message.startswith("3 images failed:")
    lines = message.splitlines()[1:]
    failed = [each for each in entries if each != f"{HOST}/b:v1"]
    for line, entry in zip(lines, failed, strict=True):
        assert line.count(entry) == 1


def test_all_entries_are_parsed_before_the_first_request() -> None:
    memory = Memory(fails={"down": DependencyError("no answer", hint="ask again")})
    with pytest.raises(InvalidReferenceError) as caught:
        gathered(memory, f"{HOST}/c:down", "Bad//name", f"{HOST}/b:v1=ftp:there")
    first, *lines = caught.value.message.splitlines()
    assert first == "2 entries of the image list are invalid:"
    assert "Bad//name" in lines[0]
    assert "ftp:there" in lines[1]
    assert caught.value.hint


def test_one_failure_keeps_its_kind() -> None:
    memory = Memory(fails={"down": DependencyError("no answer", hint="ask again")})
    with pytest.raises(DependencyError, match=f"^{HOST}/c:down: no answer$") as caught:
        gathered(memory, f"{HOST}/c:down")
    assert caught.value.hint == "ask again"


def make_artifact(memory: Memory, layer: bytes, *, tag: str = "") -> bytes:
    config = memory.add(b"{}")
    manifest = memory.add(
        dump(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "artifactType": "application/x",
                "config": descriptor(EMPTY, config),
                "layers": [descriptor("application/x", memory.add(layer))],
            }
        )
    )
    if tag:
        memory.tags[tag] = manifest
    return manifest


def digests_of(found: Gathered) -> set[str]:
    """The manifests that are there, in hexadecimal."""
    return {path.rpartition("sha256-")[2] for path in found.manifests if "/digest/" in path}


def test_entries_without_a_platform() -> None:
    """The configuration tells it; one that does not is for linux/amd64."""
    memory = Memory()
    plain = make_image(memory, b"{}", layers=[b"plain"])
    arm64 = make_image(memory, config_of("arm64"), layers=[b"arm64"])
    s390x = make_image(memory, config_of("amd64"), layers=[b"s390x"])
    entries = [descriptor(MANIFEST_TYPE, arm64), descriptor(MANIFEST_TYPE, plain)]
    index = make_index(memory, [*entries, entry(s390x, "linux/s390x")], tag="v1")
    expected = {"linux/amd64": plain, "linux/arm64": arm64, "linux/s390x": s390x}
    for name, manifest in expected.items():
        found = gathered(memory, f"{HOST}/app:v1", selection=Selection(parse_platforms([name])))
        assert digests_of(found) == {sha256(index), sha256(manifest)}
        assert found.platforms == {Platform.parse(name)}
    everything = gathered(memory, f"{HOST}/app:v1", selection=ALL)
    assert sorted(map(str, everything.platforms)) == sorted(expected)
    with pytest.raises(InputError, match="no image for linux/arm64/v9") as caught:
        gathered(memory, f"{HOST}/app:v1", selection=Selection(parse_platforms(["linux/arm64/v9"])))
    assert caught.value.hint == "available: linux/amd64, linux/arm64, linux/s390x"


def test_what_tells_its_platform_is_not_read_for_it() -> None:
    memory = Memory()
    good = make_image(memory, config_of("amd64"))
    lost = descriptor(MANIFEST_TYPE, b"lost")
    make_index(memory, [lost, entry(good, "linux/amd64")], tag="v1")
    assert gathered(memory, f"{HOST}/app:v1").platforms == {Platform("linux", "amd64")}


def test_artifacts_go_with_any_platform_where_there_is_nothing_else() -> None:
    memory = Memory()
    artifacts = [make_artifact(memory, layer) for layer in (b"one", b"two")]
    image = make_image(memory, config_of("amd64"))
    entries: list[object] = [descriptor(MANIFEST_TYPE, each) for each in artifacts]
    index = make_index(memory, entries, tag="v1")
    for platform in ("linux/amd64", "linux/arm64", "all"):
        selection = Selection(parse_platforms([platform]))
        found = gathered(memory, f"{HOST}/app:v1", selection=selection)
        assert digests_of(found) == {sha256(each) for each in (index, *artifacts)}
        assert found.platforms == set()
    index = make_index(memory, [*entries, descriptor(MANIFEST_TYPE, image)], tag="v2")
    found = gathered(memory, f"{HOST}/app:v2")
    assert digests_of(found) == {sha256(index), sha256(image)}
    make_artifact(memory, b"three", tag="v3")
    assert gathered(memory, f"{HOST}/app:v3").platforms == set()


def test_all_is_everything_that_the_index_names() -> None:
    memory = Memory()
    image = make_image(memory, config_of("amd64"))
    attestation = make_artifact(memory, b"provenance")
    marked = {"vnd.docker.reference.type": "attestation-manifest"}
    attached = entry(attestation, "unknown/unknown") | {"annotations": marked}
    other = descriptor("application/vnd.example.x+json", b"other")
    index = make_index(memory, [entry(image, "linux/amd64"), attached, other], tag="v1")
    found = gathered(memory, f"{HOST}/app:v1", selection=ALL)
    assert digests_of(found) == {sha256(each) for each in (index, image, attestation)}
    assert found.platforms == {Platform("linux", "amd64")}
    assert digests_of(gathered(memory, f"{HOST}/app:v1")) == {sha256(index), sha256(image)}


def test_a_tag_of_referrers_is_cached_whole() -> None:
    memory = Memory()
    image = make_image(memory, config_of("amd64"), tag="v1")
    tag = f"sha256-{sha256(image)}"
    one, two = (make_artifact(memory, layer) for layer in (b"one", b"two"))
    index = make_index(memory, [descriptor(MANIFEST_TYPE, one), entry(two, "linux/s390x")], tag=tag)
    found = gathered(memory, f"{HOST}/app:{tag}")
    assert digests_of(found) == {sha256(each) for each in (index, one, two)}
    assert (found.platforms, found.warnings) == (set(), [])
    # Under an image's own digest there is the image.
    own = make_index(memory, [entry(image, "linux/amd64"), entry(one, "linux/s390x")])
    memory.tags[f"sha256-{sha256(own)}"] = own
    found = gathered(memory, f"{HOST}/app:sha256-{sha256(own)}")
    assert digests_of(found) == {sha256(own), sha256(image)}


def test_several_platforms_of_which_one_is_missing() -> None:
    memory = Memory()
    image = make_image(memory, config_of("amd64"))
    index = make_index(memory, [entry(image, "linux/amd64")], tag="v1")
    wanted = ["linux/amd64", "linux/arm64", "linux/s390x"]
    with pytest.raises(InputError, match="no image for linux/arm64, linux/s390x") as caught:
        gathered(memory, f"{HOST}/app:v1", selection=Selection(parse_platforms(wanted)))
    assert caught.value.hint.endswith("--missing-platform warn caches the others")
    lenient = Selection(parse_platforms(wanted), missing=MissingPlatform.WARN)
    warnings: list[str] = []
    found = gathered(memory, f"{HOST}/app:v1", selection=lenient, warnings=warnings)
    assert digests_of(found) == {sha256(index), sha256(image)}
    assert found.platforms == {Platform("linux", "amd64")}
    assert warnings == [
        f"{HOST}/app:v1: there is no image for linux/arm64, linux/s390x, only for linux/amd64"
    ]
    # Of no use at all, it would be missed on the machine.
    none = Selection(parse_platforms(wanted[1:]), missing=MissingPlatform.WARN)
    with pytest.raises(InputError, match="no image for linux/arm64, linux/s390x"):
        gathered(memory, f"{HOST}/app:v1", selection=none)


def test_all_of_an_index_whose_parts_are_not_there() -> None:
    memory = Memory()
    image = make_image(memory, config_of("amd64"))
    lost = entry(b"lost", "linux/arm64")
    make_index(memory, [entry(image, "linux/amd64"), lost], tag="v1")
    with pytest.raises(InputError, match="linux/arm64 is listed in the index, but missing"):
        gathered(memory, f"{HOST}/app:v1", selection=ALL)
    lenient = Selection(parse_platforms(["all"]), missing=MissingPlatform.WARN)
    found = gathered(memory, f"{HOST}/app:v1", selection=lenient)
    assert (len(found.blobs), len(found.warnings)) == (2, 1)


FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


@pytest.mark.parametrize("there", [True, False])
def test_foreign_layers_that_cannot_be_had_are_left_out(there: bool) -> None:
    memory = Memory()
    layer = b"a layer of somebody else"
    foreign = descriptor(FOREIGN, memory.add(layer) if there else layer, urls=["https://a/x"])
    config = memory.add(dump(config_of("amd64")))
    own = memory.add(b"own")
    manifest = dump(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor(CONFIG_TYPE, config),
            "layers": [foreign, descriptor(LAYER_TYPE, own)],
        }
    )
    memory.tags["v1"] = memory.add(manifest)
    found = gathered(memory, f"{HOST}/app:v1")
    assert {each.hex for each in found.blobs} == {
        sha256(each) for each in (config, own, *([layer] if there else []))
    }
    assert len(found.warnings) == (0 if there else 1)
    for warning in found.warnings:
        assert warning.startswith(f"{HOST}/app:v1: foreign layer sha256:{sha256(layer)} is left")
        assert warning.endswith("https://a/x")


def test_an_image_under_another_name() -> None:
    memory = Memory()
    image = make_image(memory, config_of("amd64"), tag="v1")
    make_artifact(memory, b"signature", tag=f"sha256-{sha256(image)}.sig")
    found = gathered(memory, f"{HOST}/app:v9=docker://mirror.local/b:v1", selection=SIGNED)
    folders = {
        path.rpartition("/reference/")[0] for path in found.manifests if "/digest/" not in path
    }
    assert folders == {f"manifests/{HOST}/app"}
    tags = {path.rpartition("/")[2] for path in found.manifests if "/reference/" in path}
    assert tags == {"v9", f"sha256-{sha256(image)}.sig"}
    pinned = f"{HOST}/app@sha256:{'0' * 64}=docker://mirror.local/b:v1"
    with pytest.raises(InputError, match="its digest is sha256:"):
        gathered(memory, pinned)


def test_an_index_inside_of_an_index() -> None:
    memory = Memory()
    inner = make_index(memory, [entry(make_image(memory, config_of("amd64")), "linux/amd64")])
    platform = {"os": "linux", "architecture": "amd64"}
    make_index(memory, [descriptor(INDEX_TYPE, inner, platform=platform)], tag="v1")
    with pytest.raises(InputError, match="index nested in an index"):
        gathered(memory, f"{HOST}/app:v1")


def test_a_blob_has_one_size() -> None:
    memory = Memory()
    make_image(memory, config_of("amd64"), tag="v1")
    make_image(memory, config_of("amd64", n=2), tag="v2", sizes={"size": 6})
    with pytest.raises(InputError, match="has 6 bytes in one manifest and 5 in another"):
        gathered(memory, f"{HOST}/app:v1", f"{HOST}/app:v2")


def test_a_name_is_of_one_image() -> None:
    memory = Memory()
    make_image(memory, config_of("amd64"), tag="v1")
    other = make_image(memory, config_of("amd64", n=2))
    pinned = f"{HOST}/app:v1@sha256:{sha256(other)}"
    for entries in ([f"{HOST}/app:v1", pinned], [pinned, f"{HOST}/app:v1"]):
        with pytest.raises(InputError, match=f"two different images have the name {HOST}/app:v1"):
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
    assert [str(each) for each in parse_platforms(texts)] == expected


@pytest.mark.parametrize("text", ["", ",", "amd64", "linux", "linux/", "/amd64", "a/b/c/d", "ALL"])
def test_platforms_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="platform"):
        parse_platforms([text])


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


def referrer(memory: Memory, signed: bytes, text: bytes, **more: object) -> dict[str, object]:
    """List an artifact that refers to an image; return its entry."""
    manifest = make_artifact(memory, text)
    found = descriptor(MANIFEST_TYPE, manifest, artifactType="application/x", **more)
    memory.referrers.setdefault(f"sha256:{sha256(signed)}", []).append(found)
    return found


def index_under(found: Gathered, image: bytes) -> list[object]:
    raw = found.manifests[f"manifests/{HOST}/app/reference/sha256-{sha256(image)}"]
    entries: list[object] = json.loads(raw)["manifests"]
    return entries


def test_listed_referrers_are_cached_under_the_tag_that_clients_ask_for() -> None:
    memory = Memory()
    image = make_image(memory, config_of("amd64"), tag="v1")
    entries = [referrer(memory, image, text, annotations={"a": "b"}) for text in (b"1", b"2", b"3")]
    memory.referrers[f"sha256:{sha256(image)}"].append(
        descriptor("application/vnd.example+json", b"unknown")
    )
    found = gathered(memory, f"{HOST}/app:v1", selection=SIGNED)
    assert index_under(found, image) == sorted(entries, key=lambda each: str(each["digest"]))
    assert {str(each["digest"])[7:] for each in entries} <= digests_of(found)
    assert (found.images, found.warnings) == (1, [])
    # A registry may list them in any order.
    memory.referrers[f"sha256:{sha256(image)}"].reverse()
    assert gathered(memory, f"{HOST}/app:v1", selection=SIGNED).manifests == found.manifests
    plain = gathered(memory, f"{HOST}/app:v1")
    assert len(plain.manifests) == 2


def test_a_lock_leaves_out_what_came_later() -> None:
    memory = Memory()
    image = make_image(memory, config_of("amd64"), tag="v1")
    referrer(memory, image, b"one")
    plain = make_image(memory, config_of("amd64", of="plain"), tag="v2")
    images = [f"{HOST}/app:v1", f"{HOST}/app:v2"]
    before = gathered(memory, *images, selection=SIGNED)
    memory.pins = lock_images(before).pins
    referrer(memory, image, b"two")
    referrer(memory, plain, b"three")
    memory.tags["v1"] = make_image(memory, config_of("arm64"), tag="v3")
    assert gathered(memory, *images, selection=SIGNED).manifests == before.manifests
    memory.pins = Pins()
    assert gathered(memory, *images, selection=SIGNED).manifests != before.manifests


def test_a_list_and_a_tag_are_joined() -> None:
    memory = Memory()
    image = make_image(memory, config_of("amd64"), tag="v1")
    listed = referrer(memory, image, b"listed")
    tagged = descriptor(MANIFEST_TYPE, make_artifact(memory, b"tagged"))
    tag = f"sha256-{sha256(image)}"
    make_index(memory, [tagged], tag=tag)
    found = gathered(memory, f"{HOST}/app:v1", selection=SIGNED)
    assert sorted(map(str, index_under(found, image))) == sorted(map(str, [tagged, listed]))
    # One that has all is kept byte by byte.
    whole = make_index(memory, [tagged, listed], tag=tag)
    found = gathered(memory, f"{HOST}/app:v1", selection=SIGNED)
    assert found.manifests[f"manifests/{HOST}/app/reference/{tag}"] == whole


@pytest.mark.parametrize("kind", [InputError, DependencyError])
def test_a_list_that_cannot_be_read_leaves_the_tag(kind: type[ImagerError]) -> None:
    memory = Memory(refuses=kind("refused"))
    image = make_image(memory, config_of("amd64"), tag="v1")
    tag = f"sha256-{sha256(image)}"
    index = make_index(memory, [descriptor(MANIFEST_TYPE, make_artifact(memory, b"1"))], tag=tag)
    found = gathered(memory, f"{HOST}/app:v1", selection=SIGNED)
    assert found.manifests[f"manifests/{HOST}/app/reference/{tag}"] == index
    assert found.warnings == ["signatures are left out: refused"]
