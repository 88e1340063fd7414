"""What the start of a command must not load: libraries that it does not use, and that are heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from imager.distro.wheels import locked_wheels
from imager.support.arch import ARCHES
from tests.lib.caches.caches import make_flat
from tests.lib.tools.cli import UNMEASURED, environment

# None of the commands here reads YAML, a profile or a compressed file, or shows bars.
HEAVY = {
    "cel_expr_python",
    "cyclonedx",
    "google.protobuf",
    "pycdlib",
    "pydantic",
    "pyfatfs",
    "rich",
    "spdx_tools",
    "yaml",
    "zstandard",
}
NETWORK = {"aiohttp", "asyncio", "http.client", "requests", "ssl", "urllib3"}
# What one command has and most others do not.
OTHER_COMMANDS = {"imager.cli.assets", "imager.cli.config", "imager.cli.node"}
# What a build without signatures, extensions and overlays needs none of, with a cache in a folder
# and nothing to print.
OTHER_BUILDS = {
    "asn1crypto",
    "cel_expr_python",
    "cryptography",
    "google.protobuf",
    "oras",
    "rich",
    "tarfile",
    "xml",
    "zlib_ng.gzip_ng",
    "imager.app.assets_of_image",
    "imager.app.base_installer",
    "imager.app.extensions",
    "imager.app.overlay",
    "imager.app.signing_keys",
    "imager.bootassets.identity",
    "imager.cache.blobstore",
    "imager.cache.lists",
    "imager.cache.pull",
    "imager.cache.volumes",
    "imager.content.packing",
    "imager.efi.signer",
    "imager.efi.uki",
    "imager.formats.gpt.read",
    "imager.formats.ova",
    "imager.formats.qcow2",
    "imager.image.bootloader.sdboot",
    "imager.image.device",
    "imager.image.overlay",
    "imager.image.published",
    "imager.oci.credentials",
    "imager.oci.endpoint",
    "imager.oci.push",
    "imager.oci.registry",
    "imager.oci.rootfs",
    "imager.oci.settings",
    "imager.support.blockdevices",
}
OF_ISO = {"imager.formats.iso9660", "imager.image.iso", "pycdlib"}
OF_DISK = {"imager.formats.ext4", "imager.formats.xfs", "imager.image.disk"}


def loaded(*arguments: str | Path) -> set[str]:
    """Return the modules that `imager ARGUMENTS` loads, as Python itself tells them."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "imager", *arguments],
        env=environment(UNMEASURED),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


@pytest.mark.parametrize("arguments", ["--help", "images --help", "iso --help", "--version"])
def test_help_needs_neither_libraries_nor_the_network(arguments: str) -> None:
    modules = loaded(*arguments.split())
    assert "typer" in modules
    assert modules & (HEAVY | NETWORK | OTHER_COMMANDS) == set()


@pytest.mark.parametrize(
    ("profile", "own", "others"), [("iso", OF_ISO, OF_DISK), ("metal", OF_DISK, OF_ISO)]
)
def test_a_plain_build_needs_neither_keys_nor_registries(
    profile: str, own: set[str], others: set[str], tmp_path: Path, assets: Path
) -> None:
    cache = make_flat(tmp_path / "cache", images=1, blob_size=1000)
    options = ("--bootloader=grub", "--out-format=raw", "--image-cache", cache.folder)
    modules = loaded(profile, *options, "--assets", assets, "--output", tmp_path / "out", "--quiet")
    assert [each.stat().st_size > 1000 for each in (tmp_path / "out").iterdir()] == [True]
    assert modules >= {"pydantic", "imager.image.bootloader.grub", *own}
    assert modules & (OTHER_BUILDS | NETWORK | OTHER_COMMANDS | others) == set()


def test_a_cache_is_verified_without_what_makes_one(tmp_path: Path) -> None:
    cache = make_flat(tmp_path / "cache", images=1, blob_size=1000)
    modules = loaded("images", "cache-verify", cache.folder)
    assert "imager.cache.verify" in modules
    makers = {"imager.cache.blobstore", "imager.cache.write", "imager.formats.ext4"}
    # Streams are decompressed with it.
    unused = HEAVY - {"zstandard"} | NETWORK | OTHER_COMMANDS | makers
    assert modules & unused == set()


def test_a_pull_needs_what_speaks_to_registries_alone(tmp_path: Path) -> None:
    images = tmp_path / "images.txt"
    images.write_text("127.0.0.1:1/nobody/listens:v1\n")
    modules = loaded(
        *("images", "cache-create", "--retries", "0", "--images", images),
        *("--image-cache-path", tmp_path / "cache", "--layer-cache", tmp_path / "layers"),
    )
    assert modules >= {"urllib3", "imager.cache.write"}
    # urllib3 loads it wherever it is installed.
    unused = HEAVY - {"zstandard"} | {"imager.oci.docker_archive", "imager.oci.hosts_toml"}
    assert modules & unused == set()


def test_what_a_profile_needs_is_seen() -> None:
    assert loaded("profile", "show", "iso") >= {"pydantic", "yaml"}


# Distributions whose modules have other names.
MODULES = {
    "attrs": "attr",
    "cel-expr-python": "cel_expr_python",
    "protobuf": "google",
    "pyyaml": "yaml",
    "gpt-image": "gpt_image",
    "typing-extensions": "typing_extensions",
}
NODE = """
import sys
import imager.cli.node, imager.talos.config.evaluation, imager.node.mounts, imager.node.doctor
import imager.node.run, imager.registry.serve
from imager.talos.config.selector import Selector
Selector.parse("system_disk")
print(*{name.partition(".")[0] for name, module in sys.modules.items()
        if "site-packages" in (getattr(module, "__file__", None) or "")})
"""


def test_a_node_needs_only_its_own_wheels() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NODE],
        env=environment(UNMEASURED),
        capture_output=True,
        text=True,
        check=True,
    )
    foreign = {name for name in done.stdout.split() if not name.startswith("_")}
    assert {"cel_expr_python", "google", "aiohttp"} <= foreign
    for arch in ARCHES:
        wheels = {wheel.name for wheel in locked_wheels(arch)}
        own = {MODULES.get(name, name.replace("-", "_")) for name in wheels}
        assert foreign <= own | {"imager"}
