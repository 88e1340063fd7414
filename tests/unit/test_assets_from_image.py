"""Boot assets out of container images: which, of which layers, and what is asked for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from imager.bootassets.grub import bios_files
from imager.content.extents import Content
from imager.efi.uki import Section, plan_uki
from tests.lib.caches.caches import sha256, tree_files
from tests.lib.keys.pe_stub import pe_stub
from tests.lib.registries.made_images import Files, MadeImage, Member, add_index, hard, link
from tests.lib.registries.programmable import Registry
from tests.lib.servers.messages import Answer
from tests.lib.tools.cli import invoke, run
from tests.lib.tools.support import content_bytes

NAMES = ("vmlinuz", "initramfs.xz", "systemd-boot.efi", "systemd-stub.efi")
TALOS = "alpha.talos.dev/version"
REPOSITORY = "siderolabs/imager"
# Of all outputs, this one needs no GRUB.
UKI = ("--output-kind=uki",)


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of what is kept; no boot assets are on this machine."""
    monkeypatch.delenv("IMAGER_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg/imager/images"


def system(assets: Path, *names: str, arch: str = "amd64") -> dict[str, bytes | Member]:
    return {
        f"usr/install/{arch}/{name}": (assets / "amd64" / name).read_bytes()
        for name in names or NAMES
    }


def grub(assets: Path) -> dict[str, bytes | Member]:
    folder = assets / "amd64/grub/i386-pc"
    return {f"usr/lib/grub/i386-pc/{path.name}": path.read_bytes() for path in folder.iterdir()}


def uki(tmp_path: Path, **sections: bytes) -> bytes:
    """Return a UKI of two profiles, the first of which is the main one."""
    stub = tmp_path / "stub"
    stub.write_bytes(pe_stub())
    parts = {
        "osrel": b"ID=talos\nVERSION_ID=v1.10.5\n",
        "cmdline": b"quiet",
        **sections,
        "profile": b"ID=x",
    }
    again = [Section(".cmdline", Content.of_bytes(b"other"))]
    made = [Section(f".{name}", Content.of_bytes(data)) for name, data in parts.items()]
    return content_bytes(plan_uki(stub, [*made, *again]))


def built(reference: str | Path, *options: str | Path) -> dict[str, Any]:
    options = ("--assets", reference, "--talos-version=v1.10.0", *options)
    return planned("iso", *options)


def planned(profile: str, *options: str | Path, stdin: str = "") -> dict[str, Any]:
    """Return the plan of a UKI, or of another kind of output."""
    kind = () if any("--output-kind" in str(each) for each in options) else UKI
    done = invoke(profile, "--dry-run", "--json", *kind, *options, stdin=stdin)
    assert done.exit_code == 0, done.message
    result: dict[str, Any] = json.loads(done.stdout)
    result.pop("spaceFree")
    return result


def pulled(registry: Registry, image: MadeImage, to: Path, *options: str) -> dict[str, bytes]:
    """Return what `assets pull` puts into a folder."""
    image.add_to(registry.repository(REPOSITORY), tag="v1.9.0")
    done = invoke("assets", "pull", name(registry), "--folder", to, *options)
    assert done.exit_code == 0, done.message
    return tree_files(to)


def name(registry: Registry, tag: str = "v1.9.0") -> str:
    return f"{registry.host}/{REPOSITORY}:{tag}"


def test_all_of_an_imager_image(registry: Registry, assets: Path, tmp_path: Path) -> None:
    base: Files = {"lib": link("usr/lib"), "etc/version": b"1"}
    files = {**system(assets), "usr/install/arm64/vmlinuz": b"other"}
    layers: list[Files] = [
        base,
        {k.removeprefix("usr/"): v for k, v in grub(assets).items()},
        files,
    ]
    image = MadeImage.of(layers, codecs=["gzip", "zstd", "gzip"], labels={TALOS: "v1.9.4"})
    found = pulled(registry, image, tmp_path / "to")
    for each in NAMES:
        assert found.pop(f"amd64/{each}") == (assets / "amd64" / each).read_bytes()
    assert found.pop("amd64/version") == b"v1.9.4\n"
    folder = assets / "amd64/grub/i386-pc"
    wanted = bios_files((folder / "moddep.lst").read_text())
    assert {Path(path).name: data for path, data in found.items()} == {
        each: (folder / each).read_bytes() for each in wanted
    }
    assert {str(Path(path).parent) for path in found} == {"amd64/grub/i386-pc"}


def test_kernel_and_initramfs_of_a_uki(registry: Registry, tmp_path: Path) -> None:
    """As in installers since 1.10. Their sizes are no multiples of anything."""
    kernel, initramfs = b"kernel" * 1001, b"initramfs" * 777
    made = uki(tmp_path, linux=kernel, initrd=initramfs)
    files = {"vmlinuz.efi": made, "systemd-boot.efi": b"loader"}
    top: Files = {f"usr/install/amd64/{each}": data for each, data in files.items()}
    found = pulled(registry, MadeImage.of([{"a": b""}, top]), tmp_path / "to")
    assert found == {
        "amd64/vmlinuz": kernel,
        "amd64/initramfs.xz": initramfs,
        "amd64/systemd-boot.efi": b"loader",
        "amd64/version": b"v1.10.5\n",
    }


@pytest.mark.parametrize(
    ("lower", "upper", "kernel"),
    [
        ("whole", "uki", b"uki"), ("uki", "whole", b"whole"),
        ("whole", "none", b"whole"), ("whole,uki", "none", b"whole"), ("uki", "half", b"uki"),
    ],
)  # fmt: skip
def test_kernel_and_initramfs_are_of_the_topmost_layer_with_both(
    registry: Registry, tmp_path: Path, lower: str, upper: str, kernel: bytes
) -> None:
    """And never one of each, of two builds."""
    install = "usr/install/amd64"
    whole: dict[str, bytes | Member] = {
        f"{install}/vmlinuz": b"whole", f"{install}/initramfs.xz": b"whole"
    }  # fmt: skip
    forms: Mapping[str, dict[str, bytes | Member]] = {
        "whole": whole,
        "half": {f"{install}/vmlinuz": b"half"},
        "uki": {f"{install}/vmlinuz.efi": uki(tmp_path, linux=b"uki", initrd=b"uki")},
        "none": {"x": b""},
    }
    below = {path: data for form in lower.split(",") for path, data in forms[form].items()}
    found = pulled(registry, MadeImage.of([below, forms[upper]]), tmp_path / "to")
    assert [found["amd64/vmlinuz"], found["amd64/initramfs.xz"]] == [kernel, kernel]


def test_removed_files_are_not_found(registry: Registry, assets: Path, tmp_path: Path) -> None:
    gone: Files = {"usr/install/amd64/.wh.systemd-stub.efi": b"", "usr/lib/.wh.grub": b""}
    image = MadeImage.of([{**system(assets), **grub(assets)}, gone])
    found = pulled(registry, image, tmp_path / "to")
    assert set(found) == {f"amd64/{each}" for each in NAMES[:3]}
    opaque: Files = {"usr/install/amd64/.wh..wh..opq": b""}
    MadeImage.of([system(assets), opaque]).add_to(registry.repository(REPOSITORY), tag="opaque")
    done = invoke("assets", "pull", name(registry, "opaque"), "--folder", tmp_path / "none")
    assert "has no boot assets for amd64" in done.message


def test_only_the_layers_that_are_needed(registry: Registry, assets: Path, tmp_path: Path) -> None:
    image = MadeImage.of([{"big": b"0"}, {**system(assets), **grub(assets)}, {"config": b"2"}])
    pulled(registry, image, tmp_path / "to")
    fetched = {each.path.rpartition(":")[2] for each in registry.log.about("/blobs/")}
    config, base, middle, top = map(sha256, image.blobs)
    assert fetched == {config, middle, top}
    assert base not in fetched


def test_all_of_grub(registry: Registry, assets: Path, tmp_path: Path) -> None:
    """Debian's EFI image is taken too; a GRUB for BIOS that lacks a module is not."""
    efi = "grub/x86_64-efi/monolithic/gcdx64.efi"
    layers: list[Files] = [grub(assets), {f"usr/lib/{efi}": b"efi", **system(assets)}]
    found = pulled(registry, MadeImage.of(layers), tmp_path / "to")
    assert found[f"amd64/{efi}"] == b"efi"
    assert "amd64/grub/i386-pc/kernel.img" in found
    broken: Files = {"usr/lib/grub/i386-pc/.wh.linux.mod": b""}
    found = pulled(registry, MadeImage.of([*layers, broken]), tmp_path / "broken")
    assert {path for path in found if "grub" in path} == {f"amd64/{efi}"}


def test_an_arm64_image_needs_no_grub(registry: Registry, assets: Path, tmp_path: Path) -> None:
    image = MadeImage.of([{"big": b"0"}, system(assets, arch="arm64")], arch="arm64")
    pulled(registry, image, tmp_path / "to", "--arch", "arm64")
    assert len(registry.log.about("/blobs/")) == 2


def test_the_platform_of_an_index(registry: Registry, tmp_path: Path) -> None:
    install = "usr/install/{0}/vmlinuz", "usr/install/{0}/initramfs.xz"
    images = {
        arch: MadeImage.of([{each.format(arch): arch.encode() for each in install}], arch=arch)
        for arch in ("arm64", "amd64")
    }
    add_index(registry.repository(REPOSITORY), images, tag="v1.9.0")
    for arch in images:
        done = invoke("assets", "pull", name(registry), "--folder", tmp_path, "--arch", arch)
        assert done.exit_code == 0, done.message
        assert (tmp_path / arch / "vmlinuz").read_bytes() == arch.encode()


@pytest.mark.parametrize(
    ("files", "labels", "version"),
    [
        ({}, {}, None),
        ({}, {TALOS: "v1.8.1"}, "v1.8.1"),
        ({}, {TALOS: "dirty"}, None),
        ({}, {"org.opencontainers.image.version": "v1.8.2"}, "v1.8.2"),
        ({}, {"org.opencontainers.image.version": "v3.20.3", TALOS: "v1.8.1"}, "v1.8.1"),
        ({"usr/install/amd64/version": b"v1.8.3\n"}, {TALOS: "v1.8.1"}, "v1.8.3"),
        ({"usr/install/version": b"v1.8.4"}, {}, "v1.8.4"),
        ({"usr/install/version": b"what?" * 99}, {TALOS: "v1.8.1"}, "v1.8.1"),
    ],
)
def test_the_version_of_an_image(
    registry: Registry, assets: Path, files: Files, labels: dict[str, str], version: str | None
) -> None:
    image = MadeImage.of([{**system(assets), **dict(files)}], labels=labels)
    image.add_to(registry.repository(REPOSITORY), tag="v1.7.7")
    image.add_to(registry.repository(REPOSITORY), tag="mine")
    for tag, otherwise in (("v1.7.7", "v1.7.7"), ("mine", "v1.9.0")):
        assert planned("iso", "--assets", name(registry, tag))["version"] == (version or otherwise)
    done = invoke(
        "iso", *UKI, "--dry-run", "--json", "--assets", f"{name(registry)}@{digest(image)}"
    )
    assert json.loads(done.stdout)["version"] == (version or "v1.9.0")


def digest(image: MadeImage) -> str:
    return f"sha256:{sha256(image.manifest)}"


def test_a_second_build_asks_for_nothing(registry: Registry, assets: Path, kept: Path) -> None:
    image = MadeImage.of([{**system(assets), **grub(assets)}])
    image.add_to(registry.repository(REPOSITORY), tag="v1.9.0")
    pinned = f"{name(registry)}@{digest(image)}"
    first = built(pinned)
    assert f"boot assets are those of {pinned}" in first["notes"]
    registry.log.requests.clear()
    assert built(pinned) == first
    assert not registry.log.requests
    # A tag may have moved: its manifest is asked for, and nothing else.
    assert built(name(registry))["regions"] == first["regions"]
    assert registry.log.lines == [f"GET /v2/{REPOSITORY}/manifests/v1.9.0"]
    assert {each.name for each in kept.iterdir() if not each.name.startswith("tag-")} == {
        digest(image).replace(":", "-")
    }


def test_a_mirror(registry: Registry, assets: Path) -> None:
    MadeImage.of([system(assets)]).add_to(registry.repository(REPOSITORY), tag="v1.9.0")
    mirror = f"ghcr.example={registry.url}"
    found = built(f"ghcr.example/{REPOSITORY}:v1.9.0", "--registry-mirror", mirror)
    assert any(f"those of ghcr.example/{REPOSITORY}:v1.9.0@" in each for each in found["notes"])


def test_a_tag_that_moved_is_followed(registry: Registry, assets: Path) -> None:
    repository = registry.repository(REPOSITORY)
    for version in ("v1.8.1", "v1.8.2"):
        MadeImage.of([system(assets)], labels={TALOS: version}).add_to(repository, tag="latest")
        assert planned("iso", "--assets", name(registry, "latest"))["version"] == version


def test_without_a_network_a_tag_is_what_it_was(registry: Registry, assets: Path) -> None:
    MadeImage.of([system(assets)]).add_to(registry.repository(REPOSITORY), tag="v1.9.0")
    first = built(name(registry))
    for tag in ("v1.9.0", "v2"):
        registry.always(f"/v2/{REPOSITORY}/manifests/{tag}", Answer(503))
    assert built(name(registry), "--retries=0") == first
    options = (*UKI, "--dry-run", "--retries=0", "--assets")
    done = run("iso", *options, name(registry))
    assert f"using {name(registry)} as of the last run" in done.stderr
    assert run("iso", *options, name(registry, "v2")).returncode == 5


@pytest.mark.parametrize("status", [401, 404])
def test_refusals_are_not_repeated(registry: Registry, status: int) -> None:
    target = f"/v2/{REPOSITORY}/manifests/v1.9.0"
    registry.always(target, Answer(status))
    done = invoke("iso", *UKI, "--dry-run", "--assets", name(registry))
    assert done.exit_code == 2
    assert len(registry.log.at(target)) == 1


def test_a_layer_of_other_bytes(registry: Registry, assets: Path, kept: Path) -> None:
    image = MadeImage.of([system(assets)])
    repository = registry.repository(REPOSITORY)
    image.add_to(repository, tag="v1.9.0")
    (layer,) = image.layers
    other = layer[:600] + b"?" + layer[601:]
    repository.blobs[f"sha256:{sha256(layer)}"] = other
    done = invoke("iso", *UKI, "--dry-run", "--assets", name(registry), "--retries=0")
    assert done.exit_code == 5
    assert "does not match its digest" in done.message
    assert not any(kept.glob("sha256-*/*"))


def test_a_layout_of_other_bytes(assets: Path, tmp_path: Path) -> None:
    image = MadeImage.of([system(assets)])
    layout = image.write_layout(tmp_path / "layout")
    path = layout / "blobs/sha256" / sha256(image.layers[0])
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    done = invoke("iso", *UKI, "--dry-run", "--assets", layout)
    assert done.exit_code == 2
    assert "does not match its digest" in done.message


def test_images_without_boot_assets(registry: Registry, assets: Path) -> None:
    repository = registry.repository(REPOSITORY)
    MadeImage.of([grub(assets)]).add_to(repository, tag="base")
    MadeImage.of([system(assets, arch="arm64")], arch="arm64").add_to(repository, tag="arm64")
    MadeImage.of([system(assets, "vmlinuz")]).add_to(repository, tag="half")
    for tag in ("base", "arm64", "half"):
        done = invoke("iso", *UKI, "--dry-run", "--assets", name(registry, tag))
        assert done.exit_code == 2
        assert f"{name(registry, tag)} has no boot assets for amd64" in done.message
        assert ("it is for linux/arm64" in done.message) == (tag == "arm64")
        assert "an installer-base image has none" in done.message


def test_a_part_that_an_installer_does_not_have(registry: Registry, tmp_path: Path) -> None:
    made = uki(tmp_path, linux=pe_stub(), initrd=b"initramfs")
    files: Files = {"usr/install/amd64/vmlinuz.efi": made}
    MadeImage.of([files]).add_to(registry.repository(REPOSITORY), tag="v1.10.0")
    done = invoke("iso", *UKI, "--dry-run", "--assets", name(registry, "v1.10.0"))
    assert done.exit_code == 2
    assert f"systemd-stub.efi for amd64: not in {name(registry, 'v1.10.0')}@sha256:" in done.message
    assert "have a unified kernel image instead" in done.message


@pytest.mark.parametrize("made", [b"MZ no PE", b"", "linux", "initrd"], ids=str)
def test_ukis_that_are_none(registry: Registry, tmp_path: Path, made: bytes | str) -> None:
    data = made if isinstance(made, bytes) else uki(tmp_path, **{made: bytes(600)})
    files: Files = {"usr/install/amd64/vmlinuz.efi": data}
    MadeImage.of([files]).add_to(registry.repository(REPOSITORY), tag="v1.10.0")
    done = invoke("iso", *UKI, "--dry-run", "--assets", name(registry, "v1.10.0"))
    assert done.exit_code == 2
    assert name(registry, "v1.10.0") in done.message


def test_links_of_a_hostile_image(registry: Registry, assets: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"secret")
    files = {
        "usr/install/amd64/vmlinuz": link(str(mine)),
        "usr/install/amd64/initramfs.xz": hard(str(mine)),
    }
    MadeImage.of([files]).add_to(registry.repository(REPOSITORY), tag="v1.9.0")
    done = invoke("iso", *UKI, "--dry-run", "--assets", name(registry))
    assert "has no boot assets" in done.message


def test_sizes_are_limited(
    registry: Registry, assets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imager.bootassets.from_image._LARGEST", 100_000)
    MadeImage.of([system(assets)]).add_to(registry.repository(REPOSITORY), tag="v1.9.0")
    done = invoke("iso", *UKI, "--dry-run", "--assets", name(registry))
    assert "is too large for its kind" in done.message


def test_layers_in_the_layer_cache(registry: Registry, assets: Path, tmp_path: Path) -> None:
    image = MadeImage.of([system(assets)])
    image.add_to(registry.repository(REPOSITORY), tag="v1.9.0")
    cache = tmp_path / "layers"
    built(name(registry), "--layer-cache", cache)
    assert [path.name for path in cache.iterdir()] == [f"sha256-{sha256(image.layers[0])}"]


def test_what_was_pushed_is_taken_too(registry: Registry, assets: Path) -> None:
    reference = f"{registry.host}/site/assets:v1.9.0"
    done = invoke("assets", "push", reference, "--assets", assets)
    assert done.exit_code == 0, done.message
    pushed = done.stdout
    assert built(reference)["regions"] == built(assets)["regions"]
    again = f"{registry.host}/site/copies:v1.9.0"
    done = invoke("assets", "push", again, "--assets", reference)
    assert done.exit_code == 0, done.message
    assert done.stdout.partition("@")[2] == pushed.partition("@")[2]


def test_one_of_several_images_of_a_layout(assets: Path, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    for tag, version in (("old", "v1.8.5"), ("new", "v1.9.4")):
        MadeImage.of([system(assets)], labels={TALOS: version}).write_layout(layout, tag=tag)
    for option in ("--assets", "--base-installer-image"):
        for place in (f"oci:{layout}:new", f"{layout}:new"):
            assert planned("iso", option, place)["version"] == "v1.9.4"
    profile = {**PROFILE, "input": {"baseInstaller": {"ociPath": f"{layout}:old"}}}
    assert any(f"those of {layout}:old@" in each for each in from_profile(profile)["notes"])
    for place, words in ((f"oci:{layout}", "2 images for"), (f"oci:{layout}:x", "no image for x")):
        done = invoke("iso", *UKI, "--dry-run", "--assets", place)
        assert done.exit_code == 2
        assert words in done.message
        assert f"choose one, as in {layout}:NAME: new; old" in done.message
    # What exists under that name is it.
    MadeImage.of([system(assets)], labels={TALOS: "v1.9.0"}).write_layout(tmp_path / "layout:new")
    assert planned("iso", "--assets", f"oci:{layout}:new")["version"] == "v1.9.0"


PROFILE = {"baseProfileName": "iso", "version": "v1.10.0"}


def from_profile(profile: Mapping[str, object], *options: str | Path) -> dict[str, Any]:
    return planned("-", *options, stdin=yaml.safe_dump(dict(profile)))


def test_a_base_installer_is_the_last_resort(
    registry: Registry, assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    MadeImage.of([system(assets)]).add_to(registry.repository(REPOSITORY), tag="v1.9.0")
    profile = {**PROFILE, "input": {"baseInstaller": {"imageRef": name(registry)}}}
    wanted = built(assets)["regions"]
    # With boot assets on this machine, nothing is asked for.
    given = from_profile(profile, "--assets", assets)
    monkeypatch.setenv("IMAGER_ASSETS", str(assets))
    for found in (given, from_profile(profile)):
        assert found["regions"] == wanted
        assert any("baseInstaller` is left out: boot assets are in" in n for n in found["notes"])
    monkeypatch.delenv("IMAGER_ASSETS")
    parts = {"kernel": "vmlinuz", "initramfs": "initramfs.xz", "sdBoot": "systemd-boot.efi",
             "sdStub": "systemd-stub.efi"}  # fmt: skip
    named = {key: {"path": str(assets / "amd64" / file)} for key, file in parts.items()}
    base = {"baseInstaller": {"imageRef": name(registry)}}
    from_profile({**profile, "input": {**named, **base}})
    from_profile(profile, "--output-kind=cmdline")
    assert not registry.log.requests
    # Without, its boot assets are used.
    found = from_profile(profile)
    assert found["regions"] == wanted
    assert registry.log.requests
    assert not any("left out" in note for note in found["notes"])


def test_the_option_of_a_base_installer(
    registry: Registry, assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = MadeImage.of([system(assets)], labels={TALOS: "v1.8.5"})
    image.add_to(registry.repository(REPOSITORY), tag="v1.9.0")
    monkeypatch.setenv("IMAGER_ASSETS", str(assets))
    layout = image.write_layout(tmp_path / "layout")
    for place in (name(registry), f"docker://{name(registry)}", f"oci:{layout}", layout):
        found = planned("iso", "--base-installer-image", place)
        assert found["version"] == "v1.8.5"
        assert any("boot assets are those of" in note for note in found["notes"])
        assert not any("left out" in note for note in found["notes"])
    registry.log.requests.clear()
    options = ("--base-installer-image", name(registry), "--assets", assets)
    found = planned("iso", *options)
    assert any("--base-installer-image` is left out" in note for note in found["notes"])
    assert not registry.log.requests


def test_a_user_cache_that_cannot_be_written(
    registry: Registry, assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    MadeImage.of([system(assets)]).add_to(registry.repository(REPOSITORY), tag="v1.9.0")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for _ in range(2):
        built(name(registry))
    assert len([each for each in registry.log.lines if "/blobs/" in each]) == 4


def test_the_list_of_an_image(registry: Registry, assets: Path, kept: Path) -> None:
    image = MadeImage.of([{**system(assets), **grub(assets)}], labels={TALOS: "v1.9.4"})
    image.add_to(registry.repository(REPOSITORY), tag="v1.9.0")
    done = invoke("assets", "list", "--json", "--assets", name(registry))
    assert done.exit_code == 0, done.message
    found = json.loads(done.stdout)
    folder = kept / digest(image).replace(":", "-")
    assert found["places"] == [{"path": str(folder), "state": "used"}]
    assert found["talosVersion"] == "v1.9.4"
    paths = {each["name"]: each["path"] for each in found["assets"] if not each["problem"]}
    assert paths["vmlinuz"] == str(folder / "amd64/vmlinuz")
    assert paths["grub i386-pc"] == str(folder / "amd64/grub/i386-pc")


@pytest.mark.parametrize("place", ["none", "registry.local/imager", "imager:v1.9.0"])
def test_places_that_are_none(place: str) -> None:
    done = invoke("iso", *UKI, "--dry-run", "--assets", place)
    assert done.exit_code == 2
    assert f"--assets {place} is not a folder" in done.message
    assert "reference with a tag" in done.message
