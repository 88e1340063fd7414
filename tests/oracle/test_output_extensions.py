"""System extensions in outputs: out of images of all kinds, in every output with an initramfs."""

from __future__ import annotations

import gzip
import os
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lib.caches.caches import flip
from tests.lib.registries.registry import RunningRegistry, copy_image
from tests.lib.tools.cli import build, run, synthetic_assets, tool
from tests.lib.volumes.extension_images import (
    image_layout,
    layer_tar,
    manifest,
    split_initramfs,
    squashfs_files,
    unpacked_cpio,
)

pytestmark = pytest.mark.oracle

LABEL = "system_u:object_r:bin_exec_t:s0"
VERSION = "v1.12.0"


@dataclass(frozen=True, slots=True)
class Site:
    """Boot assets, an extension in all kinds of images, and the places of the runs."""

    folder: Path
    assets: Path
    layout: Path
    tarball: Path

    @property
    def initramfs(self) -> bytes:
        """The bytes of the boot asset."""
        return (self.assets / "amd64/initramfs.xz").read_bytes()

    def build(self, *args: str | Path, out: str, profile: str = "iso") -> Path:
        """Make an output with `args`; return its path."""
        return Path(self.result(*args, out=out, profile=profile)["output"])

    def result(self, *args: str | Path, out: str, profile: str = "iso") -> dict[str, Any]:
        """Make an output; return the whole JSON result."""
        common = ("--assets", self.assets, "--talos-version", VERSION)
        env = {"XDG_CACHE_HOME": str(self.folder / "cache")}
        return build(profile, *common, "-o", self.folder / out, *args, env=env)

    def unpacked(self, path: Path) -> Path:
        """Return the folder with what was added to the initramfs at `path`."""
        before, after = split_initramfs(path.read_bytes(), self.initramfs)
        assert before == b""
        zstd = ["zstd", "-dcq"]
        plain = subprocess.run(zstd, input=after, check=True, capture_output=True).stdout
        folder = path.with_name(f"{path.name}.unpacked")
        unpacked_cpio(plain, folder)
        return folder


def members(name: str) -> dict[str, bytes | str | None]:
    """Return the members of an extension's image, with a folder that only root may enter."""
    return {
        "manifest.yaml": manifest(name),
        "rootfs": None,
        "rootfs/usr": None,
        "rootfs/usr/local/bin/tool": b"tool\n",
        "rootfs/usr/local/bin/link": "tool",
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    base = layer_tar(
        folder / "base.tar",
        {
            "manifest.yaml": b"old",
            "rootfs/usr/local/gone": b"gone",
            "rootfs/usr/opaque/gone": b"gone",
            "extra": b"not allowed",
        },
    )
    removed = {
        ".wh.extra": b"",
        "rootfs/usr/local/.wh.gone": b"",
        "rootfs/usr/.wh.opaque": b"",
    }
    top = layer_tar(folder / "top.tar", {**removed})
    last = layer_tar(folder / "last.tar", members("tool"), label=LABEL)
    layout = image_layout(folder / "layout", [base, top, last])
    tarball = folder / "tool.tar"
    tarball.write_bytes(last.read_bytes())
    return Site(folder, synthetic_assets(folder / "assets"), layout, tarball)


@pytest.fixture(scope="module")
def expected(site: Site) -> Path:
    return site.build(
        *("--output-kind", "initramfs", "--system-extension-image", site.tarball), out="expected"
    )


def test_an_extension_is_in_the_initramfs(site: Site, expected: Path, tmp_path: Path) -> None:
    added = site.unpacked(expected)
    assert sorted(path.name for path in added.iterdir()) == ["0.sqsh", "extensions.yaml"]
    root = tmp_path / "root"
    files = dict(squashfs_files(added / "0.sqsh", root))
    assert {path: stat.filemode(found.st_mode) for path, found in files.items()} == {
        "usr": "drwx------",
        "usr/local": "drwxr-xr-x",
        "usr/local/bin": "drwxr-xr-x",
        "usr/local/bin/link": "lrwxrwxrwx",
        "usr/local/bin/tool": "-rwxr-xr-x",
    }
    assert stat.filemode(root.stat().st_mode) == "drwx------"
    if os.geteuid() == 0:
        labels = {
            path: os.getxattr(root / path, "security.selinux", follow_symlinks=False)
            for path in ("usr", "usr/local/bin/link", "usr/local/bin/tool")
        }
        assert set(labels.values()) == {LABEL.encode()}


def test_readers_object_to_damage(site: Site, expected: Path, tmp_path: Path) -> None:
    _, packed = split_initramfs(expected.read_bytes(), site.initramfs)
    archive = tmp_path / "archive"
    archive.write_bytes(packed)
    plain = subprocess.run(["zstd", "-dcq", archive], check=True, capture_output=True).stdout
    tool("cpio", "--quiet", "-t", status=2, stdin=plain[: len(plain) // 2])
    flip(archive, 1)
    tool("zstd", "-tq", archive, status=1)
    unpacked_cpio(plain, tmp_path / "files")
    image = tmp_path / "files/0.sqsh"
    flip(image, 112)  # behind the superblock and the options of zstd
    unpack = ("unsquashfs", "-no-progress", "-dest", tmp_path / "root", image)
    tool(*unpack, status=1)


def images(site: Site, registry: RunningRegistry) -> Iterator[tuple[str, Sequence[str | Path]]]:
    """Yield the extension in an image of each kind, as the value of the option, with others."""
    packed = site.folder / "tool.tar.gz"
    packed.write_bytes(gzip.compress(site.tarball.read_bytes(), mtime=0))
    saved = site.folder / "saved.tar"
    copy_image(f"oci:{site.layout}:v1", f"docker-archive:{saved}:example.com/tool:v1")
    name = f"{registry.host}/tool:v1"
    copy_image(f"oci:{site.layout}:v1", f"docker://{name}", "--dest-tls-verify=false")
    yield str(packed), ()
    yield str(saved), ()
    yield str(site.layout), ()
    yield name, ("--insecure",)


def test_images_of_all_kinds_give_the_same_bytes(
    site: Site, expected: Path, registry: RunningRegistry
) -> None:
    for number, (image, more) in enumerate(images(site, registry)):
        options = ("--output-kind", "initramfs", "--system-extension-image", image)
        made = site.build(*options, *more, out=f"kind-{number}")
        assert made.read_bytes() == expected.read_bytes(), image


def test_every_output_has_the_extended_initramfs(site: Site, expected: Path) -> None:
    extension = ("--system-extension-image", site.tarball)
    uki = site.build("--output-kind", "uki", *extension, out="uki")
    initrd = site.folder / "initrd"
    tool("objcopy", "-O", "binary", "--only-section=.initrd", uki, initrd)
    assert initrd.read_bytes() == expected.read_bytes()
    for profile in ("iso", "metal"):
        for bootloader in ("grub", "sd-boot"):
            options = ("--bootloader", bootloader, "--out-format", "raw")
            made = site.build(*extension, *options, out=f"{profile}-{bootloader}", profile=profile)
            assert expected.read_bytes() in made.read_bytes()


def test_a_profile_names_extensions_and_a_configuration(site: Site) -> None:
    other = layer_tar(site.folder / "other.tar", members("other"))
    profile = site.folder / "profile.yaml"
    config = "machine: {}\n---\napiVersion: v1alpha1\nkind: HostnameConfig\n"
    text = {
        "baseProfileName": "iso",
        "version": VERSION,
        "customization": {"embeddedMachineConfiguration": config},
        "input": {"systemExtensions": [{"tarballPath": str(other)}, {"ociPath": str(site.layout)}]},
        "output": {"kind": "initramfs"},
    }
    profile.write_text(yaml.safe_dump(text))
    result = site.result(out="profile", profile=str(profile))
    assert "with system extensions: other 1.0.5, tool 1.0.4, embedded-config" in result["notes"]
    added = site.unpacked(Path(result["output"]))
    layers = yaml.safe_load((added / "extensions.yaml").read_text())["layers"]
    assert [(each["image"], each["metadata"]["name"]) for each in layers] == [
        *(("0.sqsh", "other"), ("1.sqsh", "tool"), ("2.sqsh", "embedded-config"))
    ]
    assert [*squashfs_files(added / "2.sqsh", site.folder / "embedded")]
    assert (site.folder / "embedded/usr/local/etc/talos/config.yaml").read_text() == config


def test_nothing_of_a_configuration_is_kept(site: Site) -> None:
    config = site.folder / "config.yaml"
    config.write_text("machine: {token: the-secret}\n")
    kept = site.folder / "cache/imager/extensions"
    before = {path.name for path in kept.iterdir()}
    made = site.build(
        *("--output-kind", "initramfs", "--embedded-config-path", config), out="secret"
    )
    new = {path.name for path in kept.iterdir()} - before
    assert [Path(name).suffix for name in new] == [".zst"]
    files = site.unpacked(made)
    assert sorted(path.name for path in files.iterdir()) == ["0.sqsh", "extensions.yaml"]


@pytest.mark.parametrize("kind", ["kernel", "cmdline"])
def test_outputs_without_an_initramfs_say_so(site: Site, kind: str) -> None:
    config = site.folder / "any.yaml"
    config.write_text("a: b\n")
    more = ("--system-extension-image", site.tarball, "--embedded-config-path", config)
    notes = site.result("--output-kind", kind, *more, out=kind)["notes"]
    assert [note for note in notes if "initramfs" in note] == [
        f"`--system-extension-image` is left out: {kind} has no initramfs",
        f"`--embedded-config-path` is left out: {kind} has no initramfs",
    ]


def test_problems_are_said_before_anything_is_written(site: Site, tmp_path: Path) -> None:
    wrong = {
        "manifest.yaml": manifest("a", compatibility={"talos": {"version": "<1.0.0"}}),
        "rootfs/a": b"",
        "readme": b"",
    }
    image = layer_tar(tmp_path / "wrong.tar", wrong)
    other = layer_tar(tmp_path / "other.tar", {"manifest.yaml": b"version: 1"})
    done = run(
        *("iso", "--talos-version", VERSION, "-o", tmp_path / "out", "--assets", site.assets),
        *("--system-extension-image", image, "--system-extension-image", other),
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-6:] == [
        "error: system extensions: 4 problems",
        f"  {image}: 'readme': not allowed beside manifest.yaml and rootfs",
        f"  {image}: manifest.yaml: metadata.compatibility.talos.version: it is for Talos <1.0.0,"
        f" not for {VERSION}",
        f"  {other}: rootfs: the folder is missing",
        f"  {other}: manifest.yaml: version: '1' is not v1alpha1",
        "more: imager explain invalid-extensions",
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "status", "problem"),
    [
        ("", 2, "there is no machine configuration in it"),
        ("a: b\na: c\n", 2, "`--embedded-config-path`: line 2: key 'a' is given twice"),
    ],
)
def test_a_configuration_that_is_none_is_refused(
    site: Site, tmp_path: Path, text: str, status: int, problem: str
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    done = run(
        *("iso", "--talos-version", VERSION, "-o", tmp_path, "--assets", site.assets),
        *("--embedded-config-path", config),
    )
    assert done.returncode == status
    assert problem in done.stderr
