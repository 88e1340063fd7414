"""Images that a policy allows or refuses by their signatures, when cached and in a finished cache.

The expected verdicts are those of Talos and cosign: see tests/oracle/test_cosign_verdicts.py.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from imager.oci.cosign.evidence import BundleSignature, Signature, SimpleSignature
from imager.oci.cosign.keyless import Identity, TrustedRoot
from imager.oci.cosign.keys import SigningKey
from imager.oci.digest import Digest
from imager.support.errors import InputError
from tests.lib.caches.caches import (
    INDEX_TYPE,
    MANIFEST_TYPE,
    descriptor,
    dump,
    image_index,
    sha256,
    tree_files,
)
from tests.lib.keys.sigstore_instance import public_pem
from tests.lib.registries.programmable import Registry, running_programmable
from tests.lib.registries.registry import make_layout
from tests.lib.registries.signed_images import (
    CASES,
    CERTIFICATE,
    HEAD,
    INSTANCE,
    ISSUER,
    KEY,
    LOG_ENTRY,
    SIGNATURE,
    SUBJECT,
    Signed,
    add_case,
    add_image,
    by_identity,
    by_key,
    identity_bundle,
    key_bundle,
    payload_of,
    policy,
    rule_for,
)
from tests.lib.registries.store import Repository
from tests.lib.tools import cli

pytestmark = pytest.mark.oracle

ACCEPTED = [name for name, case in CASES.items() if case.accepted]
REFUSED = [name for name, case in CASES.items() if not case.accepted]


@dataclass(frozen=True)
class Site:
    """A registry with the images of all cases, a policy for them, and whom to trust."""

    registry: Registry
    policy: Path
    root: Path

    def image(self, name: str) -> str:
        return f"{self.registry.host}/team/{name}:v1"

    def layer(self, name: str) -> str:
        """Return the digest of the layer of an image."""
        repository = self.registry.repository(f"team/{name}")
        manifest = json.loads(repository.manifests[repository.tags["v1"]].data)
        digest: str = manifest["layers"][0]["digest"]
        return digest

    @property
    def options(self) -> tuple[str | Path, ...]:
        return ("--verify-policy", self.policy, "--trusted-root", self.root)

    def create(
        self, path: Path, names: Sequence[str], *options: str | Path, layout: str = "flat"
    ) -> cli.Completed:
        argv = ("images", "cache-create", "--images", "-", "--image-cache-path", path)
        images = "\n".join(map(self.image, names))
        return cli.run(*argv, "--layout", layout, "--retries", "0", *options, stdin=images)

    def verify(self, path: Path, *options: str | Path) -> cli.Completed:
        files = ("--policy", self.policy, "--trusted-root", self.root)
        return cli.run("images", "cache-verify", path, *files, *options)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with running_programmable() as registry:
        for name, case in CASES.items():
            add_case(registry.repository(f"team/{name}"), name, case)
        rules, root = folder / "policy.yaml", folder / "trusted_root.json"
        rules.write_text(policy(registry.host))
        root.write_bytes(INSTANCE.trusted_root())
        yield Site(registry, rules, root)


def refusals(site: Site, text: str) -> dict[str, str]:
    """Return what is said of each refused image, by the name of its case."""
    found = re.findall(rf"^ *{re.escape(site.registry.host)}/team/([\w-]+):v1: (.*)$", text, re.M)
    assert len(dict(found)) == len(found)
    return dict(found)


def check_refusals(site: Site, text: str) -> None:
    said = refusals(site, text)
    assert sorted(said) == sorted(REFUSED)
    wrong = {name: said[name] for name in REFUSED if CASES[name].words not in said[name]}
    assert wrong == {}


def test_every_refused_image_is_named_before_a_layer_is_fetched(site: Site, tmp_path: Path) -> None:
    site.registry.log.clear()
    done = site.create(tmp_path / "cache", list(CASES), *site.options)
    assert done.returncode == 2, done.stderr
    check_refusals(site, done.stderr)
    assert "unverified-image" in done.stderr
    assert list(tmp_path.iterdir()) == []
    requested = {request.path.rpartition("/")[2] for request in site.registry.log.requests}
    assert len(requested) > len(CASES)
    assert requested & set(map(site.layer, CASES)) == set()


def test_allowed_images_are_cached_and_verified_without_a_network(
    site: Site, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    done = site.create(cache, ACCEPTED, *site.options)
    assert done.returncode == 0, done.stderr
    blobs = {f"sha256:{path.name.removeprefix('sha256-')}" for path in cache.glob("blob/*")}
    assert set(map(site.layer, ACCEPTED)) <= blobs
    found = site.verify(cache, "--json")
    assert (found.returncode, found.stderr) == (0, "")
    assert json.loads(found.stdout)["verified"] == len(ACCEPTED)
    signature = next(cache.glob("manifests/*/team/simple/reference/*.sig"))
    signature.unlink()
    found = site.verify(cache)
    assert found.returncode == 2
    assert list(refusals(site, found.stderr)) == ["simple"]


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_finished_cache_has_the_same_verdicts_without_a_network(
    site: Site, tmp_path: Path, compression: str
) -> None:
    cache = tmp_path / "cache"
    options = ("--layer-compression", compression)
    done = site.create(cache, list(CASES), *options, layout="oci")
    assert done.returncode == 0, done.stderr
    site.registry.log.clear()
    found = site.verify(cache)
    assert found.returncode == 2, found.stderr
    check_refusals(site, found.stderr)
    assert site.registry.log.requests == []


def test_edited_signatures_are_refused(site: Site) -> None:
    """Whatever libraries make of them, nothing but a refusal comes out."""
    root = TrustedRoot.parse(site.root.read_text(), where="root")
    key, identity = SigningKey.parse(public_pem(KEY)), Identity(ISSUER, SUBJECT)
    repository = Repository()
    add_case(repository, "edited", CASES["unsigned"])
    digest = repository.tags["v1"]
    signed = Digest.parse(digest)
    bundles = [dump(each(signed.hex)) for each in (key_bundle, identity_bundle)]
    payload, notes = by_identity(payload_of(signed.hex))
    random, accepted = Random(16), 0
    for number in range(400):
        if number % 2:
            raw = edited(random, bundles[number // 2 % 2])
            signature: Signature = BundleSignature(raw)
        else:
            parts = [payload, *(notes[each].encode() for each in (CERTIFICATE, LOG_ENTRY))]
            parts[number // 2 % 3] = edited(random, parts[number // 2 % 3])
            texts = [part.decode("utf-8", "surrogateescape") for part in parts[1:]]
            signature = SimpleSignature(parts[0], base64.b64decode(notes[SIGNATURE]), *texts)
        with suppress(InputError):
            key.verify(signature, signed)
            accepted += 1
        with suppress(InputError):
            root.verify(signature, signed, identity)
            accepted += 1
    # Edits of what is not signed, such as white space and hints.
    assert accepted < 40


def edited(random: Random, data: bytes) -> bytes:
    """Return `data` with up to three bytes changed, removed or repeated."""
    copy = bytearray(data)
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(copy))
        match random.randrange(4):
            case 0:
                copy[place] = random.randrange(256)
            case 1:
                copy[place] ^= 1 << random.randrange(8)
            case 2:
                del copy[place : place + random.randint(1, 40)]
            case _:
                copy[place:place] = copy[place : place + random.randint(1, 40)]
    return bytes(copy)


def test_images_of_added_lists_are_verified(site: Site, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert site.create(cache, ACCEPTED[:1], *site.options).returncode == 0
    before = tree_files(cache)
    images = f"{site.image('bundle')},{site.image('unsigned')}"
    done = cli.run("images", "cache-add", cache, "--images", images, *site.options)
    assert done.returncode == 2
    assert list(refusals(site, done.stderr)) == ["unsigned"]
    assert tree_files(cache) == before


def test_the_first_rule_that_matches_applies(site: Site, tmp_path: Path) -> None:
    """Skipped, denied and uncovered images, an index with platforms, and a digest."""
    host = site.registry.host
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        f"{HEAD}  - image: {host}/team/unsigned\n    skip: true\n"
        f"  - image: {host}/team/uns*\n    deny: true\n"
        f"  - image: {host}/team/*e\n    deny: true\n"
    )
    option = ("--verify-policy", rules)
    names = ["unsigned", "simple", "bundle", "message-wrong-key"]
    done = site.create(tmp_path / "cache", names, *option)
    assert done.returncode == 2
    said = refusals(site, done.stderr)
    assert list(said) == ["bundle", "simple"]
    assert all(text.startswith("denied by rules[2] (") for text in said.values())
    done = site.create(tmp_path / "cache", ["unsigned", "message-wrong-key"], *option)
    assert done.returncode == 0
    assert f"no rule of the policy is for 1 image, which Talos allows: {host}" in done.stderr
    assert "/team/message-wrong-key:v1" in done.stderr


def test_the_index_of_an_image_for_several_platforms_is_what_must_be_signed(
    site: Site, tmp_path: Path
) -> None:
    """As in Talos, which verifies the digest that a name stands for."""
    rules = tmp_path / "policy.yaml"
    rules.write_text(rule_for("*", public_pem(KEY)))
    option = ("--verify-policy", rules)
    for name, signed in (("whole", "index"), ("parts", "amd64")):
        repository = site.registry.repository(f"team/{name}")
        parts = {arch: add_image(repository, name, arch) for arch in ("amd64", "arm64")}
        entries = [
            descriptor(MANIFEST_TYPE, part, platform={"os": "linux", "architecture": arch})
            for arch, part in parts.items()
        ]
        index = image_index(entries)
        repository.add_manifest(index, INDEX_TYPE, tag="v1")
        digest = sha256({**parts, "index": index}[signed])
        Signed(repository, digest).simple(by_key(payload_of(digest)))
    done = site.create(tmp_path / "cache", ["whole", "parts"], *option)
    assert done.returncode == 2
    assert refusals(site, done.stderr) == {"parts": "it has no signature (rules[0] (*))"}
    part = f"{site.registry.host}/team/parts@sha256:{digest}"
    argv = ("images", "cache-create", "--images", f"{site.image('whole')},{part}", *option)
    done = cli.run(*argv, "--image-cache-path", tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    found = cli.run("images", "cache-verify", tmp_path / "cache", "--policy", rules)
    assert found.returncode == 0, found.stderr


def test_policies_that_cannot_be_used(site: Site, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    done = site.create(cache, ACCEPTED[:1], "--verify-policy", site.policy)
    assert (done.returncode, "need a trusted root" in done.stderr) == (2, True)
    done = site.create(cache, ACCEPTED[:1], "--trusted-root", site.root)
    assert (done.returncode, "no effect without --verify-policy" in done.stderr) == (2, True)
    done = site.create(cache, ACCEPTED[:1], *site.options, "--no-cosign-signatures")
    assert (done.returncode, "--no-cosign-signatures" in done.stderr) == (2, True)
    done = site.create(
        cache, ACCEPTED[:1], "--verify-policy", site.policy, "--trusted-root", site.policy
    )
    assert (done.returncode, "not a trusted root" in done.stderr) == (2, True)
    done = site.create(cache, ACCEPTED[:1], "--verify-policy", site.root)
    assert done.returncode == 2
    assert not cache.exists()


def test_a_local_image_without_signatures_is_refused(site: Site, tmp_path: Path) -> None:
    layout = make_layout(tmp_path / "layout")
    rules = tmp_path / "rules.yaml"
    rules.write_text(rule_for("*", public_pem(KEY)))
    argv = ("images", "cache-create", "--images", f"a.example/b:v1=oci:{layout}:v1")
    done = cli.run(
        *argv,
        "--image-cache-path",
        tmp_path / "cache",
        "--verify-policy",
        rules,
    )
    assert done.returncode == 2
    assert "a.example/b:v1: it has no signature (rules[0] (*))" in done.stderr
