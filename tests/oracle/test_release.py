"""What comes with an output: the validators of the formats and sha256sum judge.

The files of an ISO are listed and read by bsdtar. The verdicts of the real cosign are recorded,
with a hash of what it judged: `make cosign-verdicts`.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from imager.app.profiles import open_profile
from imager.app.release import options as release_options
from imager.app.release.options import Release, SbomFormat
from imager.app.release.provenance import Provenance
from imager.efi.pkcs11_signer import PIN_VARIABLE
from imager.oci.digest import Digest
from imager.support.errors import DependencyError
from tests.lib.caches.caches import CacheFixture, flip, make_flat, sha256
from tests.lib.keys.release_keys import write_keys
from tests.lib.keys.remote_keys import PIN, SoftToken
from tests.lib.keys.signing_keys import Keys
from tests.lib.tools.cli import build, run, tool
from tests.lib.tools.cosign_blobs import RECORDED, cases
from tests.lib.volumes.board_images import installer_base
from tests.unit.test_imports import loaded

pytestmark = pytest.mark.oracle

ISO = "metal-amd64.iso"
_HEX = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_DIGESTS = {"type": "object", "required": ["sha256"], "properties": {"sha256": _HEX}}
_URI = {"type": "string", "pattern": "^[a-z][a-z0-9+.-]*:[^ ]+$"}


def _object(required: str, **properties: object) -> dict[str, object]:
    names = required.split()
    return {"type": "object", "required": names, "properties": properties}


# in-toto's statement.md and resource_descriptor.md; SLSA 1.0, provenance, "Schema".
STATEMENT = _object(
    "_type subject predicateType predicate",
    _type={"const": "https://in-toto.io/Statement/v1"},
    predicateType={"const": "https://slsa.dev/provenance/v1"},
    subject={
        "type": "array",
        "minItems": 1,
        "items": _object("name digest", name={"type": "string"}, digest=_DIGESTS),
    },
    predicate=_object(
        "buildDefinition runDetails",
        buildDefinition=_object(
            "buildType externalParameters resolvedDependencies",
            buildType=_URI,
            externalParameters={"type": "object", "minProperties": 1},
            resolvedDependencies={
                "type": "array",
                "items": _object("digest", digest=_DIGESTS, uri={"type": "string"}),
            },
        ),
        runDetails=_object("builder", builder=_object("id", id=_URI)),
    ),
)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_keys(tmp_path_factory.mktemp("key"), "ecdsa")[0]


@pytest.fixture(scope="module")
def made(
    assets: Path, cache: CacheFixture, key: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of an ISO with everything; no test changes it."""
    folder = tmp_path_factory.mktemp("made")
    build("iso", *_inputs(assets, cache), "--release", "--sign-key", key, "--output", folder)
    return folder


def _inputs(assets: Path, cache: CacheFixture) -> tuple[str | Path, ...]:
    return "--assets", assets, "--image-cache", cache.folder, "--talos-version", "v1.9.0"


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def test_all_files_are_there_and_the_sums_are_right(made: Path, tmp_path: Path) -> None:
    named = [ISO, *(f"{ISO}{end}" for end in (".bmap", ".spdx.json", ".cdx.json"))]
    named.append(f"{ISO}.provenance.json")
    signed = [f"{name}.sigstore.json" for name in named]
    assert {path.name for path in made.iterdir()} == {*named, *signed, "SHA256SUMS"}
    tool("cp", "-r", made, tmp_path / "copy")
    check = ("env", "-C", tmp_path / "copy", "sha256sum", "--strict", "-c", "SHA256SUMS")
    assert tool(*check).count(": OK") == len(named) + len(signed)
    flip(tmp_path / "copy" / f"{ISO}.cdx.json")
    assert f"{ISO}.cdx.json: FAILED" in tool(*check, status=1)


def _on_the_iso(made: Path) -> dict[str, str]:
    """Return the SHA-256 of each file on the ISO by its path, as bsdtar reads them."""
    listed = tool("bsdtar", "-tf", made / ISO).splitlines()
    target = made.parent / "unpacked"
    target.mkdir(exist_ok=True)
    tool("bsdtar", "-xf", made / ISO, "-C", target)
    files = [name for name in listed if (target / name).is_file()]
    return {name: sha256((target / name).read_bytes()) for name in files}


def test_both_bills_have_every_file_of_the_iso_and_its_source(
    made: Path, assets: Path, cache: CacheFixture
) -> None:
    files = _on_the_iso(made)
    assert len(files) > len(cache.blobs)
    spdx, cyclonedx = _json(made / f"{ISO}.spdx.json"), _json(made / f"{ISO}.cdx.json")
    parts = {
        each.get("fileName", "").removeprefix("./") or each["name"]: each
        for each in (*spdx["files"], *spdx["packages"])
    }
    sums = {
        name: {c["algorithm"]: c["checksumValue"] for c in each["checksums"]}
        for name, each in parts.items()
    }
    found = {each["name"]: each for each in cyclonedx["components"]}
    assert {name: sums[name]["SHA256"] for name in files} == files
    assert {name: found[name]["hashes"][0]["content"] for name in files} == files
    whole = sha256((made / ISO).read_bytes())
    assert (
        sums[ISO]["SHA256"] == cyclonedx["metadata"]["component"]["hashes"][0]["content"] == whole
    )
    # Each file of the cache is of one of its images; the kernel in the ISO is the boot asset.
    related: dict[str, set[str]] = {}
    for each in spdx["relationships"]:
        if each["relationshipType"] in ("COPY_OF", "GENERATED_FROM"):
            related.setdefault(each["spdxElementId"], set()).add(each["relatedSpdxElement"])
    images = {parts[name]["SPDXID"] for name in cache.references}
    for name in files:
        sources = related[parts[name]["SPDXID"]]
        assert bool(sources & images) is name.startswith("imagecache/"), name
    kernel = sha256((assets / "amd64/vmlinuz").read_bytes())
    assert sums["vmlinuz"]["SHA256"] == kernel
    inside = parts["efi.img/boot/vmlinuz"]["SPDXID"]
    assert related[inside] == {parts["vmlinuz"]["SPDXID"]}


def test_validators_accept_the_bills_and_object_to_damaged_ones(made: Path, tmp_path: Path) -> None:
    path, damaged = made / f"{ISO}.spdx.json", tmp_path / "damaged.spdx.json"
    validate = (Path(sys.executable).with_name("pyspdxtools"), "-i")
    tool(*validate, path)
    damaged.write_text(re.sub("COPY_OF", "COPIED", path.read_text(), count=1))
    tool(*validate, damaged, status=1)
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    text = (made / f"{ISO}.cdx.json").read_text()
    assert validator.validate_str(text) is None
    assert validator.validate_str(text.replace("SHA-256", "SHA-257", 1)) is not None


def test_the_provenance_is_about_the_output_and_names_all_inputs(
    made: Path, assets: Path, cache: CacheFixture
) -> None:
    statement = _json(made / f"{ISO}.provenance.json")
    jsonschema.validate(statement, STATEMENT)
    digest = {"sha256": sha256((made / ISO).read_bytes())}
    assert statement["subject"] == [{"name": ISO, "digest": digest}]
    definition = statement["predicate"]["buildDefinition"]
    found = {each["name"]: each["digest"]["sha256"] for each in definition["resolvedDependencies"]}
    for name in ("vmlinuz", "initramfs.xz"):
        assert found[name] == sha256((assets / "amd64" / name).read_bytes())
    for number, reference in enumerate(cache.references):
        index = cache.folder / f"manifests/registry.local_5000_/team/img{number}/reference/v1"
        assert found[reference] == sha256(index.read_bytes())
    profile = definition["externalParameters"]["profile"]
    assert (profile["version"], profile["output"]["kind"]) == ("v1.9.0", "iso")
    byproducts = statement["predicate"]["runDetails"]["byproducts"]
    assert {each["name"]: each["digest"]["sha256"] for each in byproducts} == {
        name: sha256((made / name).read_bytes())
        for name in (f"{ISO}.bmap", f"{ISO}.spdx.json", f"{ISO}.cdx.json")
    }
    statement["subject"][0]["digest"] = {"sha256": "x"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(statement, STATEMENT)


def test_no_secret_is_published() -> None:
    config, key = "machine:\n  token: very-secret\n", "/keys/private.pem"
    layer = {
        "customization": {"embeddedMachineConfiguration": config},
        "input": {"secureboot": {"pcrSigner": {"keyPath": key}}},
    }
    profile = open_profile("iso", layer)
    made = Provenance(profile, (), (), "urn:x", "1", 0).statement("out", Digest.of(b"out"))
    assert b"very-secret" not in made
    assert b"private.pem" not in made
    assert f"sha256:{sha256(config.encode())}".encode() in made


def test_the_provenance_names_an_image_that_the_output_is_made_from(
    assets: Path, tmp_path: Path
) -> None:
    """The base of an installer, in a layout: by the digest of its manifest."""
    layout, folder = installer_base(tmp_path), tmp_path / "out"
    base = ("--base-installer-image", f"oci:{layout}", "--talos-version", "v1.9.0")
    build("installer", "--assets", assets, *base, "--provenance", "--output", folder)
    statement = _json(folder / "installer-amd64.tar.provenance.json")
    found = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    (dependency,) = (each for each in found if each["name"] == "input.baseInstaller")
    (entry,) = _json(layout / "index.json")["manifests"]
    assert f"sha256:{dependency['digest']['sha256']}" == entry["digest"]
    assert dependency["annotations"] == {"kind": "base-installer"}


def test_a_second_build_gives_the_same_files(
    made: Path, assets: Path, cache: CacheFixture, key: Path, tmp_path: Path
) -> None:
    build("iso", *_inputs(assets, cache), "--release", "--sign-key", key, "--output", tmp_path)
    tool("diff", "-r", made, tmp_path)
    other = {"SOURCE_DATE_EPOCH": "1800000000"}
    argv = ("iso", *_inputs(assets, cache), "--release", "--output", tmp_path)
    build(*argv, env=other)
    assert _json(tmp_path / f"{ISO}.spdx.json")["creationInfo"]["created"] == "2027-01-15T08:00:00Z"


def test_cosign_has_judged_these_signatures(tmp_path: Path) -> None:
    """Those of files and of statements, made with both kinds of keys, and damaged ones."""
    recorded = _json(RECORDED)["cases"]
    found = dict(cases(tmp_path))
    assert {name: each["material"] for name, each in recorded.items()} == {
        name: each.material for name, each in found.items()
    }
    assert {name: each["accepted"] for name, each in recorded.items()} == {
        name: each.accepted for name, each in found.items()
    }


def test_bundles_of_a_build_are_those_that_cosign_knows(made: Path) -> None:
    for name in (ISO, f"{ISO}.spdx.json"):
        signed = _json(made / f"{name}.sigstore.json")["messageSignature"]["messageDigest"]
        assert base64.b64decode(signed["digest"]).hex() == sha256((made / name).read_bytes())
    envelope = _json(made / f"{ISO}.provenance.json.sigstore.json")["dsseEnvelope"]
    assert base64.b64decode(envelope["payload"]) == (made / f"{ISO}.provenance.json").read_bytes()


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftToken]:
    made = SoftToken(tmp_path_factory.mktemp("token"), "release")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", made.environment["SOFTHSM2_CONF"])
        patch.setenv(PIN_VARIABLE, PIN)
        yield made


def test_a_token_signs_as_the_file_does(
    assets: Path, keys: Keys, token: SoftToken, tmp_path: Path
) -> None:
    uri = token.add(keys, "release", "01")
    for name, given in (("token", uri), ("file", str(keys.key))):
        folder = tmp_path / name
        build("metal-uki", "--assets", assets, "--sign-key", given, "--output", folder)
    (bundle,) = (tmp_path / "token").glob("*.sigstore.json")
    assert bundle.read_bytes() == (tmp_path / "file" / bundle.name).read_bytes()


def test_nothing_is_left_of_a_build_that_fails(assets: Path, key: Path, tmp_path: Path) -> None:
    cache, folder = make_flat(tmp_path / "flat", images=1), tmp_path / "out"
    argv = ("iso", *_inputs(assets, cache), "--release", "--output", folder)
    folder.mkdir()
    (folder / "SHA256SUMS").write_text("other\n")
    done = run(*argv)
    assert (done.returncode, "not a list of SHA-256 digests" in done.stderr) == (2, True)
    (folder / "SHA256SUMS").unlink()
    flip(cache.blobs[-1])
    done = run(*argv, "--sign-key", key)
    assert (done.returncode, "does not match its digest" in done.stderr) == (2, True)
    done = run(*argv, "--sign-key", assets / "amd64/vmlinuz")
    assert (done.returncode, "not in PEM format" in done.stderr) == (2, True)
    assert list(folder.iterdir()) == []


def test_builds_share_the_list_of_sums(assets: Path, tmp_path: Path) -> None:
    for number in (0, 2):
        name = tmp_path / f"{number}.efi"
        told = build("metal-uki", "--assets", assets, "--checksums", "--output", name)
        assert told["sha256"] == sha256(name.read_bytes())
    sums = ("env", "-C", tmp_path, "sha256sum", "--strict", "-c", "SHA256SUMS")
    assert sorted(tool(*sums).split()) == sorted(["0.efi:", "OK", "2.efi:", "OK"])
    done = run(
        *("metal-uki", "--assets", assets, "--checksums", "--no-clobber"),
        *("--output", tmp_path / "0.efi"),
    )
    assert (done.returncode, "0.efi exists already" in done.stderr) == (2, True)


def test_options_that_do_not_go_together(assets: Path, tmp_path: Path) -> None:
    argv = ("iso", "--assets", assets)
    for options, words in (
        (("--release", "--output", "-"), "--output - writes none"),
        (("--sbom", "spdx", "--no-verify", "--output", tmp_path), "must be right"),
        (("--sbom", "swid", "--output", tmp_path), "--sbom swid: no such format"),
        (("--builder-id", "urn:x", "--output", tmp_path), "is part of a provenance"),
    ):
        done = run(*argv, *options)
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_bmap_alone_is_of_the_same_image(made: Path, assets: Path, cache: CacheFixture) -> None:
    folder = made.parent / "bmap"
    told = build("iso", *_inputs(assets, cache), "--bmap", "--output", folder)
    assert told["sha256"] is None
    assert {path.name for path in folder.iterdir()} == {ISO, f"{ISO}.bmap"}
    tool("cmp", made / f"{ISO}.bmap", folder / f"{ISO}.bmap")


def test_only_a_build_with_a_bill_loads_the_libraries(assets: Path, tmp_path: Path) -> None:
    argv = ("metal-uki", "--assets", assets, "--output", tmp_path)
    plain, signed = loaded(*argv), loaded(*argv, "--checksums", "--provenance")
    heavy = {"spdx_tools", "cyclonedx"}
    assert not plain & {*heavy, "imager.app.release.files", "imager.efi.detached"}
    assert (signed & heavy, loaded(*argv, "--sbom", "spdx") & heavy) == (set(), {"spdx_tools"})


def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_options, "find_spec", lambda _: None)
    with pytest.raises(DependencyError, match="--sbom spdx needs the Python package spdx-tools"):
        Release(sboms=tuple(SbomFormat)).require_libraries()
    Release(provenance=True).require_libraries()
