"""Outputs in a registry: what is pushed, what is fetched, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imager import FetchOutputs, PublishOutputs, fetch_outputs, publish_outputs
from imager.app.fetch import Fetched
from imager.app.publish import Published
from imager.oci.errors import InvalidArtifactError, NotFoundError, WrongBytesError
from imager.oci.platform import Platform
from imager.support.errors import AlreadyExistsError, InputError, UnsupportedError
from tests.lib.caches.caches import INDEX_TYPE, MANIFEST_TYPE, descriptor, dump, sha256, tree_files
from tests.lib.registries.programmable import Registry
from tests.lib.servers.faults import Altered
from tests.lib.servers.messages import Answer, Request
from tests.lib.servers.rules import Where

EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
TITLE = "org.opencontainers.image.title"
SPDX = "application/spdx+json"
CDX = "application/vnd.cyclonedx+json"
IN_TOTO = "application/vnd.in-toto+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
ISO = b"an ISO" * 1000
BMAP = b"<bmap/>"
OUTPUTS = {"metal-amd64.iso": ISO, "metal-amd64-uki.efi": b"MZ"}
BESIDE: dict[str, tuple[bytes, str, str]] = {
    "metal-amd64.iso.bmap": (BMAP, "application/vnd.imager.bmap.v1", "application/xml"),
    "metal-amd64.iso.spdx.json": (b'{"a":1}', SPDX, SPDX),
    "metal-amd64.iso.cdx.json": (b"{}", CDX, CDX),
    "metal-amd64.iso.intoto.json": (b"[]", IN_TOTO, IN_TOTO),
    "metal-amd64-uki.efi.provenance.json": (b"[1]", IN_TOTO, IN_TOTO),
    "metal-amd64.iso.sigstore.json": (dump({"mediaType": BUNDLE}), BUNDLE, BUNDLE),
    "SHA256SUMS": (
        f"{sha256(ISO)}  metal-amd64.iso\n{sha256(BMAP)} *metal-amd64.iso.bmap\n".encode(),
        "application/vnd.imager.sha256sums.v1",
        "text/plain",
    ),
    "SHA256SUMS.sigstore.json": (dump({"mediaType": BUNDLE, "x": 1}), BUNDLE, BUNDLE),
}
FILES = OUTPUTS | {name: data for name, (data, _, _) in BESIDE.items()}
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder with two outputs, and all that may lie beside them."""
    folder = tmp_path / "out"
    folder.mkdir()
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    (folder / "notes.txt").write_text("not published")
    return folder


def published(registry: Registry, out: Path, *names: str, **options: Any) -> Published:
    paths = [out / name for name in names or OUTPUTS]
    options = {"reference": f"{registry.host}/a/b:v1"} | options
    return publish_outputs(PublishOutputs(paths, **options))


def fetched(registry: Registry, folder: Path, **options: Any) -> Fetched:
    options = {"reference": f"{registry.host}/a/b:v1"} | options
    return fetch_outputs(FetchOutputs(folder=folder, **options))


def add(
    registry: Registry,
    layers: list[Mapping[str, Any]],
    *,
    tag: str = "v1",
    **fields: object,
) -> str:
    """Put an artifact of others into the repository a/b."""
    repository = registry.repository("a/b")
    repository.add_blob(b"{}")
    document = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE} | fields
    manifest = dump(document | {"config": descriptor(EMPTY_TYPE, b"{}"), "layers": layers})
    return repository.add_manifest(manifest, MANIFEST_TYPE, tag=tag)


def layer(registry: Registry, title: str | None, data: bytes = b"x") -> dict[str, Any]:
    """Put a file's blob into the repository, and return its descriptor."""
    registry.repository("a/b").add_blob(data)
    notes = {} if title is None else {"annotations": {TITLE: title}}
    return descriptor("a/b", data, **notes)


def attached(registry: Registry, name: str, data: bytes, subject: str, kind: str = SPDX) -> str:
    """Attach a file as somebody else could."""
    manifest = registry.repository("a/b").manifests[subject].data
    refers = {"artifactType": kind, "subject": descriptor(MANIFEST_TYPE, manifest)}
    return add(registry, [layer(registry, name, data)], tag="", **refers)


def test_an_artifact_and_its_referrers(registry: Registry, out: Path) -> None:
    done = published(registry, out)
    repository = registry.repository("a/b")
    root = json.loads(repository.manifests[repository.tags["v1"]].data)
    assert root["artifactType"] == "application/vnd.imager.output.v1"
    assert root["config"] == descriptor(EMPTY_TYPE, b"{}")
    layers = {each["annotations"][TITLE]: each["mediaType"] for each in root["layers"]}
    assert layers == {
        "metal-amd64.iso": "application/vnd.efi.iso",
        "metal-amd64-uki.efi": "application/efi",
    }
    subject = {"mediaType": MANIFEST_TYPE, "digest": repository.tags["v1"]}
    found = {}
    for each in repository.manifests.values():
        document = json.loads(each.data)
        if "subject" in document:
            assert document["subject"] == subject | {
                "size": len(json.dumps(root, separators=(",", ":")))
            }
            (one,) = document["layers"]
            kinds = (document["artifactType"], one["mediaType"])
            found[one["annotations"][TITLE]] = (repository.blobs[one["digest"]], *kinds)
    assert found == BESIDE
    # The registry lists them, so there is no other tag; and the tag comes last of all.
    assert repository.tags.keys() == {"v1"}
    assert registry.log.lines[-1] == "PUT /v2/a/b/manifests/v1"
    assert str(done.pushed.reference.digest) == repository.tags["v1"]
    # The same files give the same bytes.
    assert published(registry, out).pushed.reference == done.pushed.reference
    assert len(repository.manifests) == 1 + len(BESIDE)


def test_everything_comes_back(
    registry: Registry, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Files beside an output may be given too, as by a shell's `*`.
    published(registry, out, *FILES)
    done = fetched(registry, tmp_path / "to")
    assert tree_files(tmp_path / "to") == FILES
    assert {each.path.name: each.kept for each in done.files} == dict.fromkeys(FILES, False)
    assert tree_files(tmp_path / "to").keys() == {each.path.name for each in done.files}
    fetched(registry, tmp_path / "less", beside=False)
    assert tree_files(tmp_path / "less") == OUTPUTS
    published(registry, out, reference=f"{registry.host}/c/d:v1", beside=False)
    fetched(registry, tmp_path / "bare", reference=f"{registry.host}/c/d:v1")
    assert tree_files(tmp_path / "bare") == OUTPUTS
    assert capsys.readouterr().err == ""
    registry.always(Where("GET", word="/referrers/"), Answer(403))
    fetched(registry, tmp_path / "refused")
    assert tree_files(tmp_path / "refused") == OUTPUTS
    said = capsys.readouterr().err
    assert said.startswith("warning: attached files may be missing: ")
    assert "refuses access" in said


def without_referrers(registry: Registry) -> None:
    """Have the registry do as those of OCI 1.0 do."""

    def change(_: Request, answer: Answer) -> Answer:
        kept = {name: text for name, text in answer.headers.items() if name != "OCI-Subject"}
        return replace(answer, headers=kept)

    registry.always(Where("PUT"), Altered(change))
    registry.always(Where("GET", word="/referrers/"), Answer(404))


def test_a_registry_without_referrers(registry: Registry, out: Path, tmp_path: Path) -> None:
    root = str(published(registry, out, beside=False).pushed.reference.digest)
    repository = registry.repository("a/b")
    without_referrers(registry)
    tag = root.replace(":", "-")
    # Of a kind that is not known here, and a field too.
    repository.add_manifest(b"{}", "application/x")
    other = descriptor("application/x", b"{}") | {"data": "e30="}
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [other], "x": "y"}
    repository.add_manifest(dump(index), INDEX_TYPE, tag=tag)
    for _ in range(2):
        published(registry, out)
        listed = json.loads(repository.manifests[repository.tags[tag]].data)
        assert (listed["manifests"][0], listed["x"]) == (other, "y")
        kinds = [each["artifactType"] for each in listed["manifests"][1:]]
        assert sorted(kinds) == sorted(kind for _, kind, _ in BESIDE.values())
        assert registry.log.lines[-1] == "PUT /v2/a/b/manifests/v1"
    fetched(registry, tmp_path / "to")
    assert tree_files(tmp_path / "to") == FILES


def test_platforms_share_a_name(registry: Registry, out: Path, tmp_path: Path) -> None:
    for platform, name in ((ARM64, "metal-amd64-uki.efi"), (AMD64, "metal-amd64.iso")):
        published(registry, out, name, platform=platform, beside=False)
    (out / "metal-amd64-uki.efi").write_bytes(b"newer")
    done = published(registry, out, "metal-amd64-uki.efi", platform=ARM64, beside=False)
    repository = registry.repository("a/b")
    index = json.loads(repository.manifests[repository.tags["v1"]].data)
    names = [each["platform"]["architecture"] for each in index["manifests"]]
    assert (names, index["mediaType"]) == (["amd64", "arm64"], INDEX_TYPE)
    assert str(done.pushed.reference.digest) == repository.tags["v1"]
    fetched(registry, tmp_path / "to", platform=ARM64)
    assert tree_files(tmp_path / "to") == {"metal-amd64-uki.efi": b"newer"}
    with pytest.raises(InvalidArtifactError, match=r"has 2 artifacts: linux/amd64, linux/arm64"):
        fetched(registry, tmp_path / "to")
    with pytest.raises(InvalidArtifactError, match=r"has nothing for linux/arm$"):
        fetched(registry, tmp_path / "to", platform=Platform("linux", "arm"))
    add(registry, [layer(registry, "x")])
    with pytest.raises(InputError, match="is not an index"):
        published(registry, out, platform=AMD64)


@pytest.mark.parametrize(
    "titles",
    [
        *(["../x"], ["/x"], ["a/../x"], ["."], [".."], [".x"], ["-x"], ["a\\b"], ["x\n"], ["x\0"]),
        *(["x" * 256], ["x", "x"], ["x", "x/y"], ["a/x"], ["good", "../x"], ["ä"], ["C:x"]),
    ],
)
def test_names_that_lead_elsewhere(registry: Registry, tmp_path: Path, titles: list[str]) -> None:
    add(registry, [layer(registry, title) for title in titles])
    with pytest.raises(InvalidArtifactError, match=f"^{registry.host}/a/b:v1"):
        fetched(registry, tmp_path / "to")
    assert tree_files(tmp_path) == {}
    assert registry.log.about("/blobs/") == []


def test_artifacts_of_others(registry: Registry, tmp_path: Path) -> None:
    same = b"the same twice"
    add(registry, [layer(registry, "a", same), layer(registry, None), layer(registry, "b", same)])
    fetched(registry, tmp_path / "to")
    assert tree_files(tmp_path / "to") == {"a": same, "b": same}
    assert not (tmp_path / "to/a").samefile(tmp_path / "to/b")
    add(registry, [layer(registry, None)])
    with pytest.raises(InvalidArtifactError, match="has no files"):
        fetched(registry, tmp_path / "to")
    add(registry, [layer(registry, f"x{number}") for number in range(1001)])
    with pytest.raises(InvalidArtifactError, match="has 1001 files"):
        fetched(registry, tmp_path / "to")
    packed = layer(registry, "folder")
    packed["annotations"]["io.deis.oras.content.unpack"] = "true"
    add(registry, [packed])
    with pytest.raises(UnsupportedError, match="folder is a packed folder"):
        fetched(registry, tmp_path / "to")
    with pytest.raises(NotFoundError):
        fetched(registry, tmp_path / "to", reference=f"{registry.host}/a/b:v2")


def test_only_files_named_after_an_output_are_attached(
    registry: Registry, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(published(registry, out, beside=False).pushed.reference.digest)
    attached(registry, "metal-amd64.iso", b"another ISO", root)
    attached(registry, "authorized_keys", b"key", root)
    attached(registry, "metal-amd64.iso.bmap", b"of a kind unknown here", root, kind="x/y")
    other = add(registry, [layer(registry, "other")], tag="")
    attached(registry, "metal-amd64.iso.spdx.json", b"of another", other)
    fetched(registry, tmp_path / "to")
    assert tree_files(tmp_path / "to") == OUTPUTS
    said = capsys.readouterr().err
    assert "left out metal-amd64.iso:" in said
    assert "left out authorized_keys:" in said
    hostile = attached(registry, "../x", b"x", root)
    with pytest.raises(InvalidArtifactError, match=r"'\.\./x' is not a safe path"):
        fetched(registry, tmp_path / "to")
    del registry.repository("a/b").manifests[hostile]
    for data in (b"one", b"one", b"two"):
        attached(registry, "metal-amd64.iso.spdx.json", data, root)
    with pytest.raises(InvalidArtifactError, match=r"two different files metal-amd64.iso.spdx"):
        fetched(registry, tmp_path / "to")
    fetched(registry, tmp_path / "bare", beside=False)
    assert tree_files(tmp_path / "bare") == OUTPUTS


@pytest.mark.parametrize("listed", [True, False])
def test_the_newest_of_several_attached_files_is_fetched(
    registry: Registry, out: Path, tmp_path: Path, listed: bool
) -> None:
    """With the referrers API and without; and publishing it again adds nothing."""
    if not listed:
        without_referrers(registry)
    name = "metal-amd64.iso.spdx.json"
    for number, data in enumerate((b"first", b"second", b"second", b"first")):
        (out / name).write_bytes(data)
        published(registry, out)
        before = len(registry.repository("a/b").manifests)
        published(registry, out)
        assert len(registry.repository("a/b").manifests) == before
        fetched(registry, tmp_path / f"to{number}")
        assert (tmp_path / f"to{number}" / name).read_bytes() == data


def test_a_newer_file_than_two_of_the_same_age(
    registry: Registry, out: Path, tmp_path: Path
) -> None:
    name = "metal-amd64.iso.spdx.json"
    root = str(published(registry, out, beside=False).pushed.reference.digest)
    (out / name).write_bytes(b"after two of others")
    for data in (b"one", b"two"):
        attached(registry, name, data, root)
    published(registry, out)
    fetched(registry, tmp_path / "last")
    assert (tmp_path / "last" / name).read_bytes() == b"after two of others"


def test_a_list_of_another_artifacts_referrers_is_not_believed(
    registry: Registry, out: Path, tmp_path: Path
) -> None:
    root = str(published(registry, out, beside=False).pushed.reference.digest)
    other = add(registry, [layer(registry, "other")], tag="")
    name = attached(registry, "metal-amd64.iso.spdx.json", b"of another", other)
    data = registry.repository("a/b").manifests[name].data
    entry = descriptor(MANIFEST_TYPE, data, artifactType=SPDX)
    index = dump({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]})
    registry.repository("a/b").add_manifest(index, INDEX_TYPE, tag=root.replace(":", "-"))
    fetched(registry, tmp_path / "to")
    assert tree_files(tmp_path / "to") == OUTPUTS


def test_existing_files(registry: Registry, out: Path, tmp_path: Path) -> None:
    published(registry, out)
    to = tmp_path / "to"
    fetched(registry, to)
    (to / "mine").write_text("mine")
    (to / "metal-amd64.iso.bmap").unlink()
    registry.log.clear()
    done = fetched(registry, to)
    assert [each.path.name for each in done.files if not each.kept] == ["metal-amd64.iso.bmap"]
    assert len(registry.log.about("/blobs/")) == 1
    (to / "metal-amd64.iso").write_bytes(ISO[::-1])
    (to / "metal-amd64-uki.efi").unlink()
    before = tree_files(to)
    with pytest.raises(AlreadyExistsError, match=r"metal-amd64\.iso exists already") as raised:
        fetched(registry, to)
    assert "--force" in raised.value.hint
    assert tree_files(to) == before
    fetched(registry, to, force=True)
    assert tree_files(to) == FILES | {"mine": b"mine"}
    (to / "metal-amd64.iso").unlink()
    (to / "metal-amd64.iso").symlink_to(to / "mine")
    with pytest.raises(InputError, match="is not a regular file"):
        fetched(registry, to, force=True)
    assert (to / "mine").read_text() == "mine"


def test_wrong_bytes_leave_nothing(registry: Registry, out: Path, tmp_path: Path) -> None:
    published(registry, out)
    blob = f"/v2/a/b/blobs/sha256:{sha256(ISO)}"
    wrong = Altered(lambda _, answer: replace(answer, body=b"!" + answer.body[1:]))
    registry.always(Where("GET", blob), wrong)
    with pytest.raises(WrongBytesError, match="does not match its digest"):
        fetched(registry, tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_a_manifest_that_is_not_the_digests(registry: Registry, out: Path, tmp_path: Path) -> None:
    reference = published(registry, out).pushed.reference
    with pytest.raises(InputError, match="is not"):
        published(registry, out, "metal-amd64.iso", reference=str(reference))
    changed = Altered(lambda _, answer: replace(answer, body=answer.body + b" "))
    registry.always(Where("GET", f"/v2/a/b/manifests/{reference.digest}"), changed)
    with pytest.raises(Exception, match="does not match its digest"):
        fetched(registry, tmp_path / "to", reference=str(reference))


def test_what_cannot_be_published(registry: Registry, out: Path, tmp_path: Path) -> None:
    sub = out / "sub"
    sub.mkdir()
    (sub / "metal-amd64.iso").write_bytes(b"another")
    (out / "a b.iso").write_bytes(b"x")
    with pytest.raises(InputError, match="have the same name"):
        published(registry, out, "metal-amd64.iso", "sub/metal-amd64.iso")
    with pytest.raises(InputError, match=r"'a b\.iso' is not a name"):
        published(registry, out, "a b.iso")
    with pytest.raises(InputError, match="is not a regular file"):
        published(registry, out, "sub")
    with pytest.raises(InputError, match="does not exist"):
        published(registry, out, "gone.iso")
    (out / "metal-amd64.iso.sigstore.json").write_text('{"mediaType": "text/html"}')
    with pytest.raises(InputError, match="is not a sigstore bundle"):
        published(registry, out)
    (out / "metal-amd64.iso.sigstore.json").unlink()
    (out / "metal-amd64.iso").write_bytes(b"built again")
    with pytest.raises(InputError, match=r"SHA256SUMS lists another SHA-256 for metal-amd64\.iso"):
        published(registry, out)
    (out / "metal-amd64.iso").write_bytes(ISO)
    (out / "metal-amd64.iso.bmap").write_bytes(b"of another")
    with pytest.raises(InputError, match=r"another SHA-256 for metal-amd64\.iso\.bmap"):
        published(registry, out)
    assert registry.log.requests == []
