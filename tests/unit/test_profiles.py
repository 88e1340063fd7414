"""Every built-in profile against a file written from the tables of Talos's profiles."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from imager.app.build import planned_build
from imager.app.build_options import BuildOptions
from imager.app.profiles import open_profile
from imager.profile.names import builtin_names
from imager.profile.output_name import output_name
from imager.support.arch import AMD64, find_arch
from imager.talos.choices import OutputKind
from imager.talos.cmdline import kernel_cmdline
from imager.talos.kernel_arguments import KernelTarget
from imager.talos.platforms import PLATFORMS
from imager.talos.version import TalosVersion
from tests.lib.keys.signing_keys import generated
from tests.lib.tools.cli import REPOSITORY, synthetic_assets

_FILE = yaml.safe_load((REPOSITORY / "tests/golden/profiles.yaml").read_text())
PROFILES: dict[str, dict[str, Any]] = _FILE["profiles"]
VERSION = TalosVersion.parse("v1.13.0")
# From 1.11 on, sizes stay; the file names the first version of each.
VERSIONS = {"v1.9.0": "v1.9.0", "v1.10.0": "v1.10.0", "v1.11.0": "v1.11.0", "v1.15.0": "v1.11.0"}


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> BuildOptions:
    folder = tmp_path_factory.mktemp("build")
    synthetic_assets(folder / "assets", arch="arm64")
    assets = synthetic_assets(folder / "assets")
    keys = generated(folder / "keys")
    return BuildOptions(folder / "out", assets=assets, secureboot=keys, dry_run=True)


def test_there_are_those_of_talos() -> None:
    assert set(builtin_names()) == set(PROFILES)


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
@pytest.mark.parametrize("name", PROFILES)
def test_the_name_of_the_output(name: str, arch: str) -> None:
    expected = PROFILES[name]["name"].replace("amd64", arch)
    assert output_name(open_profile(name, {"arch": arch})) == expected


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
@pytest.mark.parametrize("name", PROFILES)
def test_the_format_of_the_disk(name: str, arch: str) -> None:
    golden, made = PROFILES[name], open_profile(name, {"arch": arch}).output.image_options
    assert made.disk_format_options == golden.get("options", "")
    assert made.disk_sector_size == golden.get("sector", 512)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("arch", ["amd64", "arm64"])
@pytest.mark.parametrize("name", [name for name, each in PROFILES.items() if "size" in each])
def test_the_size_of_the_disk(name: str, arch: str, version: str, options: BuildOptions) -> None:
    golden = PROFILES[name]
    sizes = _FILE["sizes"][golden["size"]][VERSIONS[version]]
    is_uefi = "secureboot" in name or golden.get("sector") == 4096
    expected = sizes["uefi" if is_uefi and arch == "amd64" else arch]
    profile = open_profile(name, {"arch": arch, "version": version})
    assert profile.output.kind is OutputKind.IMAGE
    with planned_build(profile, options) as planned:
        assert planned.plan.content.size == expected


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
@pytest.mark.parametrize("name", PROFILES)
def test_the_arguments_of_the_platform(name: str, arch: str) -> None:
    platform = open_profile(name).platform
    args = PROFILES[name]["args"]
    line = kernel_cmdline(KernelTarget(VERSION, find_arch(arch), platform))
    expected = f"talos.platform={platform} {args.get(arch, args['amd64'])} init_on_alloc=1 "
    assert line.startswith(expected)


def test_amazon_alone_waits_for_its_disks_since_1_14() -> None:
    version = TalosVersion.parse("v1.14.0")
    lines = {name: kernel_cmdline(KernelTarget(version, AMD64, name)) for name in PLATFORMS}
    waiting = [name for name, line in lines.items() if "nvme_core.io_timeout=" in line]
    assert waiting == ["aws"]


@pytest.mark.parametrize(
    ("arch", "console"),
    [("amd64", "console=ttyS1,115200n8"), ("arm64", "console=ttyAMA0,115200")],
)
def test_a_platform_without_a_profile(arch: str, console: str) -> None:
    profile = open_profile("metal", {"platform": "equinixMetal", "arch": arch})
    assert output_name(profile) == f"equinixMetal-{arch}.raw.zst"
    line = kernel_cmdline(KernelTarget(VERSION, find_arch(arch), "equinixMetal"))
    assert line.startswith(f"talos.platform=equinixMetal {console} init_on_alloc=1 ")
