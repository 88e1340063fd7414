"""Locks of builds and of image lists, against a real registry whose tags all move."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lib.caches.caches import make_flat, make_layout, sha256, tree_files
from tests.lib.keys.signing_keys import generated
from tests.lib.registries.made_images import MadeImage
from tests.lib.registries.pushed_images import digest_of, push_image
from tests.lib.registries.registry import RunningRegistry, copy_image
from tests.lib.tools.cli import build, invoke, real_assets, run, synthetic_assets, tool
from tests.lib.tools.crane import crane
from tests.lib.volumes.board_images import overlay_image
from tests.lib.volumes.extension_images import image_layout, layer_tar, manifest

pytestmark = pytest.mark.oracle

VERSION = "v1.12.0"
NAMES = ("vmlinuz", "initramfs.xz", "systemd-boot.efi", "systemd-stub.efi")
UKI = "secureboot-metal-uki"
SECRET = "machine: {token: not-to-be-shown}"


def push(registry: RunningRegistry, layout: Path, name: str, tag: str) -> str:
    """Push the image `tag` of a layout as v1 of `name`; return its digest."""
    target = f"{registry.host}/{name}:v1"
    copy_image(f"oci:{layout}:{tag}", f"docker://{target}", "--dest-tls-verify=false")
    return crane("digest", "--insecure", target).strip()


def push_release(registry: RunningRegistry, folder: Path, release: int) -> dict[str, str]:
    """Push a cache, an extension and boot assets, all as v1; return their digests."""
    folder.mkdir()
    flat = make_flat(folder / "flat", images=release)
    cache = make_layout(flat, folder / "cache")
    index = json.loads((cache / "index.json").read_bytes())
    index["manifests"][0]["annotations"] = {"org.opencontainers.image.ref.name": "v1"}
    (cache / "index.json").write_text(json.dumps(index))
    members = {"manifest.yaml": manifest(f"tool{release}"), "rootfs/usr/local/bin/t": b"tool"}
    extension = image_layout(folder / "extension", [layer_tar(folder / "tool.tar", members)])
    assets = synthetic_assets(folder / "assets") / "amd64"
    files = {f"usr/install/amd64/{name}": (assets / name).read_bytes() for name in NAMES}
    files["usr/install/amd64/vmlinuz"] += bytes([release]) * 512
    files["usr/install/amd64/version"] = VERSION.encode()
    image = MadeImage.of([files]).write_layout(folder / "image")
    return {
        "cache": push(registry, cache, "lock/cache", "v1"),
        "extension": push(registry, extension, "lock/extension", "v1"),
        "assets": push(registry, image, "lock/assets", "v1"),
    }


@dataclass(frozen=True, slots=True)
class Site:
    """A profile whose inputs are all in the registry, and a folder for the runs."""

    folder: Path
    profile: Path
    options: tuple[str, ...]
    epoch: str = ""

    @property
    def env(self) -> dict[str, str]:
        return {"XDG_CACHE_HOME": str(self.folder / "kept"), "SOURCE_DATE_EPOCH": self.epoch}

    def sha256(self, name: str, *options: str | Path) -> str:
        """Build, and return the SHA-256 of the output."""
        out = self.folder / name
        more = (*self.options, "--checksum", "-o", out, *options)
        return str(build(self.profile, *more, env=self.env)["sha256"])

    def lock(self, *options: str | Path) -> dict[str, Any]:
        """Write or update the lock; return the JSON result."""
        argv = ("lock", self.profile, *self.options, "-o", self.file, "--json", *options)
        done = run(*argv, env=self.env)
        assert done.returncode == 0, done.stderr
        value: dict[str, Any] = json.loads(done.stdout)
        return value

    @property
    def file(self) -> Path:
        return self.folder / "imager.lock"


def make_site(registry: RunningRegistry, folder: Path) -> Site:
    host = registry.host
    profile = folder / "release.yaml"
    inputs = {
        "imageCache": {"imageRef": f"{host}/lock/cache:v1"},
        "systemExtensions": [{"imageRef": f"{host}/lock/extension:v1"}],
    }
    fields = {
        "baseProfileName": "iso",
        "customization": {"embeddedMachineConfiguration": SECRET},
        "input": inputs,
    }
    profile.write_text(yaml.safe_dump(fields))
    return Site(folder, profile, ("--assets", f"{host}/lock/assets:v1"))


def test_a_locked_build_stays_when_all_tags_have_moved(
    registry: RunningRegistry, tmp_path: Path
) -> None:
    first = push_release(registry, tmp_path / "one", 1)
    site = make_site(registry, tmp_path)
    timed = replace(site, epoch="1700000000")
    timed.lock()
    text = site.file.read_text()
    assert all(digest in text for digest in first.values())
    assert "not-to-be-shown" not in text
    before = timed.sha256("before")

    second = push_release(registry, tmp_path / "two", 2)
    assert set(first.values()).isdisjoint(second.values())
    assert timed.sha256("moved") != before
    assert site.sha256("locked", "--locked", site.file) == before
    # Nothing that the user's cache kept is needed.
    elsewhere = replace(site, folder=tmp_path / "elsewhere")
    assert elsewhere.sha256("locked", "--locked", site.file) == before

    updated = site.lock("--update")["changes"]
    assert {each["found"].rpartition("@")[2] for each in updated} == set(second.values())
    assert {each["pinned"].rpartition("@")[2] for each in updated} == set(first.values())
    assert site.lock("--update")["changes"] == []
    fresh = replace(timed, folder=tmp_path / "fresh")
    fresh.folder.mkdir()
    fresh.lock()
    assert fresh.file.read_bytes() == site.file.read_bytes()


def test_all_that_changed_is_named_at_once(registry: RunningRegistry, tmp_path: Path) -> None:
    push_release(registry, tmp_path / "one", 1)
    site = make_site(registry, tmp_path)
    assets = synthetic_assets(tmp_path / "assets")
    site = replace(site, options=("--assets", str(assets)))
    site.lock("--talos-version", VERSION)
    (assets / "amd64/vmlinuz").write_bytes((assets / "amd64/vmlinuz").read_bytes() + b"x")
    lock = json.loads(site.file.read_text())
    lock["programs"]["mksquashfs"] = "1.0"
    lock["packages"]["pycdlib"] = "0.1"
    (extension,) = (each for each in lock["inputs"] if each["kind"] == "system-extension")
    extension["digest"] = gone = f"sha256:{'1' * 64}"
    site.file.write_text(json.dumps(lock))
    fields = yaml.safe_load(site.profile.read_text())
    fields["input"]["imageCache"] = {"imageRef": f"{registry.host}/lock/other:v1"}
    fields["customization"]["embeddedMachineConfiguration"] = SECRET.upper()
    fields["customization"]["extraKernelArgs"] = ["quiet"]
    site.profile.write_text(yaml.safe_dump(fields))
    copy_image(
        f"docker://{registry.host}/lock/cache:v1",
        f"docker://{registry.host}/lock/other:v1",
        *("--src-tls-verify=false", "--dest-tls-verify=false"),
    )
    out = tmp_path / "out"
    more = ("--talos-version", VERSION, "--json")
    locked = ("--locked", site.file, "-o", out)
    done = run(
        site.profile, *site.options, *more, *locked, env=site.env | {"SOURCE_DATE_EPOCH": "1"}
    )
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert error["id"] == "changed-since-lock"
    first, *lines = error["message"].splitlines()
    assert first == f"{site.file}: 8 differences"
    starts = (
        "SOURCE_DATE_EPOCH: pinned 1704067200, found 315532800; unset it",
        "profile.customization.extraKernelArgs: pinned [], found ['quiet']; correct the profile",
        "boot-asset vmlinuz: pinned sha256:",
        f"image-cache input.imageCache: pinned {registry.host}/lock/cache:v1@sha256:",
        "machine-configuration customization.embeddedMachineConfiguration: pinned sha256:",
        f"system-extension input.systemExtensions[0]: pinned {extension['place']}@{gone}, found"
        f" nothing; name {extension['place']} again, or push the pinned image again",
        "mksquashfs: pinned 1.0, found 4.",
        "pycdlib: pinned 0.1, found ",
    )
    assert all(line.strip().startswith(start) for line, start in zip(lines, starts, strict=True))
    assert f"name {registry.host}/lock/cache:v1 again" in error["message"]
    assert not list(out.glob("*.iso"))


def test_a_lock_pins_certificates_and_nothing_of_a_private_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, file = generated(tmp_path / "keys"), tmp_path / "imager.lock"
    for path in keys.glob("*.auth"):
        path.unlink()  # the build makes them
    signer = {"keyPath": str(keys / "uki-signing-key.pem")}
    fields = {"secureboot": {"secureBootSigner": signer}}
    profile = tmp_path / "signed.yaml"
    profile.write_text(yaml.safe_dump({"baseProfileName": UKI, "input": fields}))
    options = ("--assets", real_assets(), "--secureboot-dir", keys)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert invoke("lock", profile, *options, "-o", file).exit_code == 0
    # The variables have the pinned time.
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    locked = ("--locked", file, "--dry-run")
    assert invoke(profile, *options, *locked).exit_code == 0
    text = file.read_text()
    certificate = keys / "uki-signing-cert.pem"
    said = tool("openssl", "x509", "-in", certificate, "-noout", "-fingerprint", "-sha256")
    assert said.strip().rpartition("=")[2].replace(":", "").lower() in text
    assert "signing-key" not in text
    for key in keys.glob("*-key.pem"):
        assert sha256(key.read_bytes()) not in text
    other = generated(tmp_path / "other")
    options = ("--assets", real_assets(), "--secureboot-dir", other)
    done = invoke(UKI, *options, *locked)
    named = [line.split(": ")[0].strip() for line in done.message.splitlines()[1:6]]
    names = ("KEK", "PK", "db", "secureBootSigner")
    assert named == [*(f"certificate {name}" for name in names), "public-key pcrSigner"]


def test_inputs_on_this_machine_are_pinned_by_their_contents(assets: Path, tmp_path: Path) -> None:
    flat, tar, layout = (tmp_path / name for name in ("flat", "tool.tar", "layout"))
    file = tmp_path / "imager.lock"
    options = (
        *("--assets", assets, "--image-cache", flat, "--system-extension-image", tar),
        *("--system-extension-image", f"oci:{layout}", "--talos-version", VERSION),
    )

    def write(release: int) -> None:
        make_flat(flat, images=release)
        added = {"rootfs/usr/local/t": b"%d" % release}
        layer_tar(tar, {"manifest.yaml": manifest("tar"), **added})
        shutil.rmtree(layout, ignore_errors=True)
        MadeImage.of([{"manifest.yaml": manifest("layout"), **added}]).write_layout(layout)

    write(1)
    assert invoke("lock", "iso", *options, "-o", file).exit_code == 0
    locked = ("--locked", file, "--dry-run")
    write(1)
    assert invoke("iso", *options, *locked).exit_code == 0
    write(2)
    said = invoke("iso", *options, *locked).message.splitlines()
    names = ("imageCache", "systemExtensions[0]", "systemExtensions[1]")
    assert [line.split(": ")[0].rpartition("input.")[2] for line in said[1:4]] == [*names]
    assert said[0].endswith(": 3 differences")


def test_every_program_that_runs_is_pinned(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {"manifest.yaml": manifest("tool"), "rootfs/usr/local/bin/t": b"tool"}
    cache = make_layout(make_flat(tmp_path / "flat", images=1), tmp_path / "cache")
    options = (
        *("--assets", assets, "--image-cache", cache, "--talos-version", "v1.9.0"),
        *("--system-extension-image", layer_tar(tmp_path / "tool.tar", members)),
    )
    file = tmp_path / "imager.lock"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "kept"))
    assert invoke("lock", "metal", *options, "-o", file).exit_code == 0
    ran: set[str] = set()
    start = subprocess.Popen

    def noted(argv: list[str | Path], **more: Any) -> subprocess.Popen[bytes]:
        ran.add(Path(argv[0]).name)
        return start(argv, **more)

    monkeypatch.setattr("imager.support.tools.subprocess.Popen", noted)
    done = invoke("metal", *options, "--locked", file, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.message
    assert ran >= {"mksquashfs", "mkfs.ext4", "mkfs.xfs"}
    # mkfs.ext4 is of the version of its library.
    pinned = json.loads(file.read_text())["programs"].keys() - {"libext2fs"} | {"mkfs.ext4"}
    assert ran - pinned == set()


def test_the_profile_of_a_pinned_overlay_image_is_the_base(
    registry: RunningRegistry, tmp_path: Path
) -> None:
    reference, file = f"{registry.host}/lock/overlay:v1", tmp_path / "imager.lock"
    options = (
        *("--overlay-image", reference, "--overlay-name", "board"),
        *("--output-kind", "cmdline", "--out-format", "raw"),
    )

    def move(number: int) -> None:
        argument = f"customization: {{extraKernelArgs: [release={number}]}}\n".encode()
        folder = tmp_path / str(number)
        folder.mkdir()
        layout = overlay_image(folder, {"board.yaml": b"baseProfileName: metal\n" + argument})
        copy_image(f"oci:{layout}", f"docker://{reference}", "--dest-tls-verify=false")

    def arguments(*more: str | Path) -> str:
        out = tmp_path / "out"
        done = invoke("board", *options, *more, "-o", out)
        assert done.exit_code == 0, done.message
        return next(out.iterdir()).read_text()

    move(1)
    assert invoke("lock", "board", *options, "-o", file).exit_code == 0
    before = arguments()
    move(2)
    assert "release=1" in before
    assert "release=2" in arguments()
    assert arguments("--locked", file) == before


def create(images: Path, target: Path, *options: str | Path) -> dict[str, bytes]:
    """Create a flat cache; return its files."""
    argv = ("images", "cache-create", "--images", images, "--image-cache-path", target)
    done = run(*argv, "--layout", "flat", *options)
    assert done.returncode == 0, done.stderr
    return tree_files(target)


def test_a_locked_list_of_images_stays_when_all_tags_have_moved(
    registry: RunningRegistry, tmp_path: Path
) -> None:
    host, names = registry.host, ("listed/signed", "listed/plain")
    digests = {name: digest_of(push_image(host, name, "amd64", tag="v1")) for name in names}
    tags = {name: f"sha256-{digest}.sig" for name, digest in digests.items()}
    push_image(host, "listed/signed", "s390x", tag=tags["listed/signed"])
    images = tmp_path / "images.txt"
    images.write_text(f"{host}/listed/signed:v1\nregistry.local/a:v1=docker://{host}/{names[1]}:v1")
    file = tmp_path / "images.lock"
    locked = ("images", "lock", "--images", images, "-o", file)
    assert run(*locked).returncode == 0
    before = create(images, tmp_path / "before")
    assert any(tags["listed/signed"] in path for path in before)

    for name in names:
        for tag in ("v1", tags[name]):
            push_image(host, name, "arm64", tag=tag)
    assert create(images, tmp_path / "moved", "--platform", "linux/arm64") != before
    assert create(images, tmp_path / "locked", "--locked", file) == before

    images.write_text(f"{host}/listed/signed:v1")
    argv = ("--images", images, "--image-cache-path", tmp_path / "less", "--locked", file)
    done = invoke("images", "cache-create", *argv)
    assert (done.exit_code, done.error and done.error.id) == (2, "changed-since-lock")
    assert f"image registry.local/a:v1: pinned {host}/{names[1]}:v1@" in done.message
    assert not (tmp_path / "less").exists()
    done = invoke(*locked, "--update")
    assert f"image registry.local/a:v1: {host}/{names[1]}:v1@" in done.stdout
    assert invoke(*locked).exit_code == 2
