"""`imager verify --against`: locks of builds and images, and signatures that cosign has judged."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.lib.caches.caches import CacheFixture, make_flat, sha256
from tests.lib.keys.signing_keys import generated
from tests.lib.tools.cli import build, run
from tests.lib.tools.cosign_blobs import cases

pytestmark = pytest.mark.oracle

OTHER = f"sha256:{'0' * 64}"


def problems(source: Path, against: Path, *options: str | Path) -> tuple[list[str], list[str]]:
    """Return the names of the problems, and of the inputs of a lock that are not checked."""
    done = run("verify", source, "--against", against, "--json", *options)
    assert done.returncode in (0, 2), done.stderr
    found = json.loads(done.stdout.partition("\n\n")[0])
    assert found["ok"] == (done.returncode == 0)
    places = [sorted({each["place"] for each in found[key]}) for key in ("problems", "unknown")]
    return places[0], [each for each in places[1] if each.startswith(("boot-asset", "cert"))]


@pytest.fixture(scope="module", name="locked")
def locked_iso(
    assets: Path, cache: CacheFixture, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """Return an ISO that is signed for SecureBoot, and the lock of its build."""
    folder = tmp_path_factory.mktemp("locked")
    keys = generated(folder / "keys")
    options = ("--assets", assets, "--image-cache", cache.folder, "--secureboot-dir", keys)
    build("secureboot-iso", *options, "-o", folder)
    lock = folder / "imager.lock"
    done = run("lock", "secureboot-iso", *options, "-o", lock)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.iso")), json.loads(lock.read_bytes())


def test_an_image_is_what_its_lock_pins(
    locked: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Each pinned input that is in the image is found in it, and missed by its name."""
    iso, lock = locked
    path = tmp_path / "x.lock"
    path.write_text(json.dumps(lock))
    stubs = ["boot-asset systemd-boot.efi", "boot-asset systemd-stub.efi"]
    assert problems(iso, path) == ([], stubs)
    names = {f"{each['kind']} {each['name']}" for each in lock["inputs"]}
    inputs = [{**each, "digest": OTHER} for each in lock["inputs"]]
    profile = {**lock["profile"], "version": "v1.8.0", "output": {"kind": "image"}}
    path.write_text(json.dumps({**lock, "inputs": inputs, "profile": profile}))
    found, unknown = problems(iso, path)
    assert found == sorted({*names - {*stubs}, "profile.output.kind", "profile.version"})
    assert unknown == stubs
    done = run("verify", iso, "--against", path)
    assert f"boot-asset vmlinuz: pinned {OTHER}, found " in done.stderr
    assert "Talos-v1.9.0.efi .linux" in done.stderr


def test_an_image_without_what_its_lock_pins(
    locked: tuple[Path, dict[str, Any]], assets: Path, tmp_path: Path
) -> None:
    _, lock = locked
    path = tmp_path / "x.lock"
    path.write_text(json.dumps(lock))
    build("iso", "--assets", assets, "-o", tmp_path)
    found, unknown = problems(tmp_path / "metal-amd64.iso", path)
    assert found == [
        "certificate secureBootSigner",
        "image-cache input.imageCache",
        "public-key pcrSigner",
    ]
    # Talos 1.9 boots this one with GRUB.
    stubs = [f"boot-asset systemd-{name}.efi" for name in ("boot", "stub")]
    keys = [f"certificate {name}" for name in ("KEK", "PK", "db")]
    assert unknown == [*stubs, *keys]


def test_a_cache_is_what_a_lock_of_images_pins(tmp_path: Path) -> None:
    """An image that changed, one that is missing and one that is new, by name."""
    cache = make_flat(tmp_path / "flat", images=3, blob_size=2000)
    named = {
        f"{name}": f"sha256:{sha256(data)}"
        for path, data in cache.files.items()
        if path.startswith("manifests/")
        for name in [reference_of(path)]
    }
    lock = tmp_path / "images.lock"

    def written(digests: Mapping[str, str]) -> Path:
        inputs = [
            {"kind": "image", "name": name, "place": "", "digest": digest}
            for name, digest in digests.items()
        ]
        lock.write_text(json.dumps({"lock": 1, "imager": "0", "inputs": inputs}))
        return lock

    assert problems(cache.folder, written(named)) == ([], [])
    changed, new = [name for name in named if "@" not in name][:2]
    missing = "registry.local/missing:v1"
    others = {**named, changed: OTHER, missing: OTHER}
    del others[new]
    assert problems(cache.folder, written(others)) == (
        sorted(f"image {name}" for name in (changed, new, missing)),
        [],
    )


def reference_of(path: str) -> str:
    """Return the reference of a manifest's path in a flat tree, as Talos's cache names it."""
    _, registry, *parts, kind, name = path.split("/")
    host = registry.replace("_", ":").rstrip(":")
    if kind == "digest":
        return f"{host}/{'/'.join(parts)}@{name.replace('sha256-', 'sha256:')}"
    return f"{host}/{'/'.join(parts)}:{name}"


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_the_verdicts_are_those_of_cosign(tmp_path: Path, kind: str) -> None:
    """Of signed statements and signed files, those changed and forged too."""
    found = {name: case for name, case in cases(tmp_path) if name.startswith(kind)}
    assert len(found) == 8
    output, bundle = tmp_path / "output", tmp_path / "bundle"
    for name, case in found.items():
        output.write_bytes(case.data)
        bundle.write_bytes(case.bundle)
        key = tmp_path / f"{case.key}.pub"
        done = run("verify", output, "--against", bundle, "--key", key)
        assert (done.returncode == 0) == case.accepted, (name, done.stderr)


def test_envelopes_alone_and_several_are_verified(tmp_path: Path) -> None:
    case = dict(cases(tmp_path))["ecdsa-statement"]
    (tmp_path / "output").write_bytes(case.data)
    envelope = json.loads(case.bundle)["dsseEnvelope"]
    forged = {**envelope, "signatures": [{"sig": "AAAA"}]}
    lines = f"{json.dumps(forged)}\n{json.dumps(envelope)}\n"
    verified: Callable[[str, str], int] = lambda text, key: _verified(tmp_path, text, key)  # noqa: E731
    assert verified(json.dumps(envelope), "ecdsa") == 0
    assert verified(lines, "ecdsa") == 0
    assert verified(lines, "other") == 2
    assert verified(json.dumps(forged), "ecdsa") == 2
    sums = f"{sha256(case.data)}  output\n"
    assert verified(sums, "ecdsa") == 2


def _verified(folder: Path, text: str, key: str) -> int:
    (folder / "against").write_text(text)
    against = ("--against", folder / "against", "--key", folder / f"{key}.pub")
    return run("verify", folder / "output", *against).returncode
