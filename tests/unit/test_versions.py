"""The table of versions against files written from the formats' description."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from imager.image.iso import volume_id
from imager.support.arch import find_arch
from imager.talos.choices import Bootloader
from imager.talos.cmdline import kernel_cmdline
from imager.talos.kernel_arguments import KernelTarget
from imager.talos.version import TalosVersion
from imager.talos.versions import quirks
from tests.lib.caches.caches import CacheFixture, make_flat
from tests.lib.tools.cli import MIB, REPOSITORY, build, synthetic_assets

_FILE = yaml.safe_load((REPOSITORY / "tests/golden/versions.yaml").read_text())
GOLDEN: dict[str, dict[str, Any]] = {
    f"{golden['version']}-{golden['arch']}": golden for golden in _FILE["versions"]
}


@pytest.fixture(params=[*GOLDEN.values()], ids=[*GOLDEN])
def golden(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.param
    return found


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("assets")
    synthetic_assets(folder, arch="arm64")
    return synthetic_assets(folder)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CacheFixture:
    folder = tmp_path_factory.mktemp("cache") / "flat"
    return make_flat(folder, images=1, blob_size=5_000, arches=("amd64", "arm64"))


def plan(golden: dict[str, Any], profile: str, assets: Path, folder: Path, *more: str) -> Any:
    which = ("--talos-version", golden["version"], "--arch", golden["arch"])
    return build(profile, *which, "--assets", assets, "--output", folder, "--dry-run", *more)


def labels(plan: Any) -> list[str]:
    return [region["name"] for region in plan["regions"] if region["kind"] == "partition"]


@pytest.mark.parametrize("output", ["iso", "metal"])
def test_the_command_line(golden: dict[str, Any], output: str) -> None:
    version, arch = TalosVersion.parse(golden["version"]), find_arch(golden["arch"])
    assert kernel_cmdline(KernelTarget(version, arch, iso=output == "iso")) == golden[output]


def test_the_volume_id(golden: dict[str, Any]) -> None:
    assert volume_id(golden["version"]) == golden["volumeId"]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("v1.13.0-beta.1", "TALOS_V1_13_0_BETA_1"),
        ("v1.9.0_x+dirty", "TALOS_V1_9_0_XDIRTY"),
        ("v1." + "9" * 40, "TALOS_V1_" + "9" * 23),
    ],
)
def test_volume_ids_have_what_an_iso_can_hold(version: str, expected: str) -> None:
    assert volume_id(version) == expected


def test_partitions(
    golden: dict[str, Any], assets: Path, cache: CacheFixture, tmp_path: Path
) -> None:
    expected = golden["layout"]["partitions"]
    with_cache = ["--image-cache", str(cache.folder)] if expected[-1][0] == "IMAGECACHE" else []
    found = plan(golden, "metal", assets, tmp_path, "--image-disk-size=8GiB", *with_cache)
    assert [
        [region["name"], region["offset"] / MIB, region["length"] / MIB]
        for region in found["regions"]
        if region["kind"] == "partition"
    ] == expected


def test_the_disk_without_a_cache(golden: dict[str, Any], assets: Path, tmp_path: Path) -> None:
    found = plan(golden, "metal", assets, tmp_path)
    assert found["size"] == golden["layout"]["least"] * MIB


@pytest.mark.parametrize(
    ("version", "bootloader"),
    [
        ("v1.6.0", Bootloader.GRUB),
        ("v1.9.99", Bootloader.GRUB),
        ("v1.10.0-alpha.1", Bootloader.DUAL_BOOT),
    ],
)
def test_systemd_boot_comes_with_1_10(version: str, bootloader: Bootloader) -> None:
    assert quirks(TalosVersion.parse(version)).bootloader is bootloader


@pytest.mark.parametrize(
    ("version", "reset", "profiles", "gzip"),
    [
        ("v1.3.7", False, False, False),
        ("v1.4.0", True, False, False),
        ("v1.6.2", True, False, False),
        ("v1.6.3", True, False, True),
        ("v1.9.6", True, False, True),
        ("v1.10.0", True, True, True),
    ],
)
def test_what_menus_and_meta_may_have(
    version: str, reset: bool, profiles: bool, gzip: bool
) -> None:
    rules = quirks(TalosVersion.parse(version))
    assert (rules.reset_entry, rules.uki_profiles, rules.meta_gzip) == (reset, profiles, gzip)
