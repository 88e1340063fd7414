"""Boot assets out of an image in every form into which skopeo copies it."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pytest

from imager.bootassets.grub import bios_files, efi_file
from imager.support.arch import AMD64
from tests.lib.caches.caches import image_index, sha256, tree_files
from tests.lib.registries.made_images import MadeImage, Member, link
from tests.lib.registries.registry import (
    RunningRegistry,
    copy_image,
    make_certificate,
    running_registry,
)
from tests.lib.tools import cli

pytestmark = pytest.mark.oracle

NAMES = ("vmlinuz", "initramfs.xz", "systemd-boot.efi", "systemd-stub.efi")
FORMS = ("docker://", "oci:", "oci-archive:", "docker-archive:", "dir:", "docker-archive.gz")
VERSION = "v1.9.4"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Boot assets of both architectures with GRUB, as a folder."""
    folder = tmp_path_factory.mktemp("folder")
    for arch in ("amd64", "arm64"):
        cli.synthetic_assets(folder, arch=arch)
    return folder


def layers_of(folder: Path, arch: str) -> list[dict[str, bytes | Member]]:
    """Return the layers of an image like Talos's, with what is not to be taken."""
    grub = folder / "amd64/grub"
    names = [efi_file(AMD64)]
    names += [f"i386-pc/{name}" for name in bios_files((grub / "i386-pc/moddep.lst").read_text())]
    install = f"usr/install/{arch}"
    return [
        {"lib": link("usr/lib"), f"{install}/vmlinuz": b"old", f"{install}/version": b"v1.2.3"},
        {f"usr/lib/grub/{name}": (grub / name).read_bytes() for name in names},
        {f"{install}/.wh.version": b"", "bin/imager": b"ELF"},
        {f"{install}/{name}": (folder / arch / name).read_bytes() for name in NAMES},
    ]


@pytest.fixture(scope="module")
def layout(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layout with an index of two platforms."""
    made = tmp_path_factory.mktemp("layouts")
    images = {
        arch: MadeImage.of(
            layers_of(folder, arch),
            codecs=("gzip", None, "gzip", "gzip"),
            arch=arch,
            labels={"alpha.talos.dev/version": VERSION},
        )
        for arch in ("arm64", "amd64")
    }
    for arch, image in images.items():
        image.write_layout(made / arch)
    whole = made / "amd64"
    for path in (made / "arm64/blobs/sha256").iterdir():
        path.rename(whole / "blobs/sha256" / path.name)
    index = image_index([image.entry(arch) for arch, image in images.items()])
    (whole / "blobs/sha256" / sha256(index)).write_bytes(index)
    kind = "application/vnd.oci.image.index.v1+json"
    name = {"org.opencontainers.image.ref.name": "v1"}
    entry = {"mediaType": kind, "digest": f"sha256:{sha256(index)}", "size": len(index)}
    (whole / "index.json").write_bytes(image_index([{**entry, "annotations": name}]))
    return whole


@pytest.fixture(scope="module")
def iso(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The ISO that is built from the folder."""
    path = tmp_path_factory.mktemp("iso") / "folder.iso"
    cli.build("iso", "--assets", folder, "--talos-version", VERSION, "-o", path)
    return path.read_bytes()


@pytest.mark.parametrize("form", FORMS)
def test_the_iso_is_that_of_the_folder(
    form: str, layout: Path, iso: bytes, registry: RunningRegistry, tmp_path: Path
) -> None:
    target = tmp_path / "copy"
    if form == "docker://":
        options = ("--all", "--dest-tls-verify=false")
        place: str | Path = f"{registry.host}/siderolabs/imager:v1"
        copy_image(f"oci:{layout}:v1", f"docker://{place}", *options)
    elif form == "docker-archive.gz":
        copy_image(f"oci:{layout}:v1", f"docker-archive:{tmp_path / 'plain'}:talos/imager:v1")
        target.write_bytes(gzip.compress((tmp_path / "plain").read_bytes(), 1, mtime=0))
        place = target
    else:
        copy_image(f"oci:{layout}:v1", f"{form}{target}")
        place = f"{form}{target}" if "archive" in form else target
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "IMAGER_ASSETS": ""}
    for number in range(2):
        path = tmp_path / f"{number}.iso"
        found = cli.build("iso", "--assets", place, "-o", path, env=env)
        assert found["version"] == VERSION
        assert path.read_bytes() == iso


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_both_platforms(arch: str, layout: Path, folder: Path, tmp_path: Path) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "IMAGER_ASSETS": ""}
    for place, target in ((layout, "image"), (folder, "folder")):
        options = ("--arch", arch, "--talos-version", VERSION, "--output-kind", "uki")
        cli.build("iso", *options, "--assets", place, "-o", tmp_path / target, env=env)
    found, expected = (tree_files(tmp_path / target) for target in ("image", "folder"))
    assert found == expected


def test_runs_at_the_same_time(layout: Path, iso: bytes, tmp_path: Path) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "IMAGER_ASSETS": ""}
    targets = [tmp_path / f"{number}.iso" for number in range(4)]
    runs = [
        subprocess.Popen(
            [*cli.IMAGER, "iso", "-q", "--assets", layout, "-o", target],
            env=cli.environment(env),
            stderr=subprocess.PIPE,
            text=True,
        )
        for target in targets
    ]
    ended = [(run.communicate()[1], run.returncode) for run in runs]
    assert ended == [("", 0)] * 4
    assert all(target.read_bytes() == iso for target in targets)
    (folder,) = (tmp_path / "cache/imager/images").iterdir()
    assert [path.name for path in folder.iterdir()] == ["amd64"]


def test_a_base_installer_whose_certificate_is_unknown(
    layout: Path, folder: Path, tmp_path: Path
) -> None:
    """`forceInsecure` is about that image alone."""
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "IMAGER_ASSETS": ""}
    with running_registry(tmp_path / "registry", certificate=make_certificate(tmp_path)) as tls:
        name = f"{tls.host}/siderolabs/installer:v1"
        copy_image(f"oci:{layout}:v1", f"docker://{name}", "--all", "--dest-tls-verify=false")
        for force, code in (("false", 5), ("true", 0)):
            base = f"{{imageRef: {name}, forceInsecure: {force}}}"
            profile = f"baseProfileName: iso\ninput: {{baseInstaller: {base}}}\n"
            done = cli.run("-", "--dry-run", "--output-kind=uki", stdin=profile, env=env)
            assert done.returncode == code, done.stderr
            assert (f"boot assets are those of {name}@sha256:" in done.stdout) == (not code)


def test_what_a_run_that_is_killed_leaves_is_not_used(
    layout: Path, iso: bytes, tmp_path: Path
) -> None:
    """Boot assets appear as a whole, and what was begun is removed by the next run."""
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "IMAGER_ASSETS": ""}
    code = (
        "import os, sys; from imager.bootassets import from_image;"
        "from imager.content import unpack;"
        "from_image.write_files = lambda files: ("
        "[path.write_bytes(b'half') for path in files], os.kill(os.getpid(), 9));"
        "from imager.cli.app import app; app()"
    )
    target = str(tmp_path / "a.iso")
    argv = [cli.IMAGER[0], "-c", code, "iso", "--assets", str(layout), "-o", target]
    done = subprocess.run(argv, env=cli.environment(env), capture_output=True, check=False)
    assert done.returncode == -9
    left = list((tmp_path / "cache").rglob("vmlinuz"))
    assert len(left) == 1
    cli.build("iso", "--assets", layout, "-o", tmp_path / "a.iso", env=env)
    assert (tmp_path / "a.iso").read_bytes() == iso
    assert not left[0].exists()
