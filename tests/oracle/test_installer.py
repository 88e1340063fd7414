"""Installer images over bases of umoci: skopeo, umoci, crane and a registry judge."""

from __future__ import annotations

import json
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from tests.lib.caches.caches import flip
from tests.lib.registries.registry import RunningRegistry
from tests.lib.tools.cli import build, invoke, run, synthetic_assets, tool
from tests.lib.tools.crane import crane
from tests.lib.volumes.board_images import files_below, installer_base, unpacked_installer

pytestmark = pytest.mark.oracle
VERSION = "v1.14.0"


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("assets")
    synthetic_assets(folder, arch="arm64")
    return synthetic_assets(folder)


def last_layer(layout: Path) -> Path:
    """Return the file of the last layer of a layout's image."""
    manifest = json.loads(tool("skopeo", "inspect", "--raw", f"oci:{layout}:base"))
    digest: str = manifest["layers"][-1]["digest"]
    return layout / "blobs" / digest.replace(":", "/")


def unpacked_files(archive: Path, folder: Path) -> dict[str, bytes]:
    return files_below(unpacked_installer(f"oci-archive:{archive}", folder))


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_what_is_in_it(arch: str, assets: Path, tmp_path: Path) -> None:
    options = ("--assets", assets, "--arch", arch, "--talos-version", VERSION)
    layout = installer_base(tmp_path, arch=arch)
    build("installer", *options, "--base-installer-image", f"oci:{layout}", "--output", tmp_path)
    files = unpacked_files(tmp_path / f"installer-{arch}.tar", tmp_path)
    folder = f"usr/install/{arch}"
    assert set(files) == {"bin/0", f"{folder}/vmlinuz.efi", f"{folder}/systemd-boot.efi"}
    loader = assets / arch / "systemd-boot.efi"
    assert files[f"{folder}/systemd-boot.efi"] == loader.read_bytes()
    done = tool("skopeo", "inspect", "--config", f"oci:{tmp_path}/image:x")
    config = json.loads(done)
    assert (config["architecture"], config["os"]) == (arch, "linux")
    assert config["config"]["Entrypoint"] == ["/bin/installer"]


def test_a_base_with_boot_assets_of_its_own(assets: Path, tmp_path: Path) -> None:
    """Of two layers the second has them: it is left out and not read, but not one of three."""
    for layers, kept in ((2, {"bin/0"}), (3, {"bin/0", "bin/1", "bin/2"})):
        folder = tmp_path / str(layers)
        folder.mkdir()
        layout = installer_base(folder, layers)
        if layers == 2:
            last_layer(layout).unlink()
        options = ("--assets", assets, "--talos-version", VERSION, "--output", folder)
        build("installer", *options, "--base-installer-image", f"oci:{layout}")
        files = unpacked_files(folder / "installer-amd64.tar", folder)
        assert {name for name in files if name.startswith("bin/")} == kept


def test_before_1_10_it_has_kernel_and_initramfs(assets: Path, tmp_path: Path) -> None:
    options = ("--assets", assets, "--talos-version", "v1.9.0", "--output", tmp_path)
    build("installer", *options, "--base-installer-image", f"oci:{installer_base(tmp_path)}")
    files = unpacked_files(tmp_path / "installer-amd64.tar", tmp_path)
    for name in ("vmlinuz", "initramfs.xz"):
        assert files[f"usr/install/amd64/{name}"] == (assets / "amd64" / name).read_bytes()


def test_docker_takes_it_under_the_name_of_the_base(assets: Path, tmp_path: Path) -> None:
    options = ("--assets", assets, "--talos-version", VERSION, "--output", tmp_path)
    build("installer", *options, "--base-installer-image", f"oci:{installer_base(tmp_path)}")
    archive = tmp_path / "installer-amd64.tar"
    name = f"ghcr.io/siderolabs/installer-base:{VERSION}"
    found = json.loads(tool("skopeo", "inspect", f"docker-archive:{archive}:{name}"))
    assert len(found["Layers"]) == 2
    assert found["Created"] == "2024-01-01T00:00:00Z"


def test_it_is_pushed_without_a_file(
    assets: Path, tmp_path: Path, registry: RunningRegistry
) -> None:
    layout = installer_base(tmp_path)
    source, target = f"{registry.host}/siderolabs/base:v1", f"{registry.host}/installer:v1"
    tool("skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{layout}:base",
         f"docker://{source}")  # fmt: skip
    options = ("--assets", assets, "--talos-version", VERSION, "--base-installer-image", source)
    out = tmp_path / "out"
    push = ("--push", target, "--insecure", "--output", out)
    planned = invoke("installer", *options, *push, "--dry-run").stdout
    assert f"output           {target} (raw)\n" in planned
    assert "space" not in planned
    done = invoke("installer", *options, *push)
    assert done.exit_code == 0, done.message
    assert not out.exists()
    build("installer", *options, "--insecure", "--output", out)
    with tarfile.open(out / "installer-amd64.tar") as tar:
        index = json.load(tar.extractfile("index.json") or BytesIO())
    digest = index["manifests"][0]["digest"]
    assert done.stdout.strip() == f"{target}@{digest}"
    assert crane("digest", "--insecure", target).strip() == digest


def test_readers_object_to_damage(assets: Path, tmp_path: Path) -> None:
    options = ("--assets", assets, "--talos-version", VERSION, "--output", tmp_path)
    build("installer", *options, "--base-installer-image", f"oci:{installer_base(tmp_path)}")
    archive, layout = tmp_path / "installer-amd64.tar", tmp_path / "layout"
    copy = ("skopeo", "copy", "-q", f"oci-archive:{archive}")
    tool(*copy, f"oci:{layout}:x")
    layer = max((layout / "blobs/sha256").iterdir(), key=lambda blob: blob.stat().st_size)
    unpack = ("umoci", "unpack", "--rootless", "--image", f"{layout}:x", tmp_path / "bundle")
    flip(layer)
    assert "invalid checksum" in tool(*unpack, status=1)
    # The kernel is in the middle, as it is.
    flip(archive)
    assert "Digest did not match" in tool(*copy, f"oci:{tmp_path}/other:x", status=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--meta", "0xa=x"), "an installer has no META values"),
        (
            ("--output-kind", "iso", "--push", "registry.local/b:c"),
            "--push is for installer images",
        ),
    ],
)
def test_what_no_installer_has(
    options: tuple[str, ...], words: str, assets: Path, tmp_path: Path
) -> None:
    given = ("--assets", assets, "--base-installer-image", f"oci:{installer_base(tmp_path)}")
    done = invoke("installer", *given, *options, "--output", tmp_path)
    assert done.exit_code == 2
    assert words in done.message


def test_talos_s_registry_out_of_reach_is_reported_soon(assets: Path, tmp_path: Path) -> None:
    """It is asked for once more; five times would take 17 seconds."""
    options = ("--assets", assets, "--talos-version", VERSION, "--output", tmp_path)
    done = run("installer", *options, env={"HTTPS_PROXY": "http://127.0.0.1:9"})
    assert done.returncode == 5
    first, *retries = done.stderr.partition("\nerror: ")[0].splitlines()
    name = f"ghcr.io/siderolabs/installer-base:{VERSION}"
    assert first == f"asking for {name}: no base installer is given"
    assert len(retries) == 1
    assert "give an installer image with `--base-installer-image`" in done.stderr
