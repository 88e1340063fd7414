"""A cache for a Talos that has none is refused, whatever is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from imager.app.build import planned_build
from imager.app.build_options import BuildOptions
from imager.app.check_config import SizedCache, check_machine_config
from imager.cache.open import open_cache
from imager.profile.load import load_profile, read_builtin
from imager.support.errors import InvalidConfigError, UnsupportedError
from imager.support.reporter import ProgressStyle, make_reporter
from imager.talos.choices import OutputKind
from imager.talos.config.document import read_machine_config
from imager.talos.version import TalosVersion
from imager.talos.versions import require_image_cache
from tests.lib.caches.caches import make_flat, make_layout

CONFIG = "machine:\n  type: worker\n  features:\n    imageCache:\n      localEnabled: true\n"


def test_the_rule() -> None:
    for version in ("v1.9.0-alpha.0", "v1.9.0", "v1.14.0"):
        require_image_cache(TalosVersion.parse(version))
    for version in ("v1.8.4", "v1.8.0", "v1.7.0"):
        with pytest.raises(UnsupportedError) as caught:
            require_image_cache(TalosVersion.parse(version))
        assert caught.value.message == f"Talos {version} has no image cache"
        assert "Talos v1.9.0 or later" in caught.value.hint


@pytest.mark.parametrize("kind", OutputKind)
@pytest.mark.parametrize("version", ["v1.8.4", "v1.7.0"])
def test_every_output_refuses(tmp_path: Path, kind: OutputKind, version: str) -> None:
    cache = make_layout(make_flat(tmp_path / "flat", images=1), tmp_path / "layout")
    profile = load_profile(
        read_builtin("metal" if kind is OutputKind.IMAGE else "iso"),
        {
            "version": version,
            "arch": "amd64",
            "input": {"imageCache": {"ociPath": str(cache)}},
            "output": {"kind": kind.value},
        },
        source="test",
    )
    assets = tmp_path / "assets/amd64"
    assets.mkdir(parents=True)
    for name in ("vmlinuz", "initramfs.xz", "systemd-boot.efi", "systemd-stub.efi"):
        (assets / name).write_bytes(b"never read")
    options = BuildOptions(tmp_path, assets.parent)
    reporter = make_reporter(ProgressStyle.NONE)
    with (
        pytest.raises(UnsupportedError, match=f"Talos {version} has no image cache"),
        planned_build(profile, options, reporter),
    ):
        pass


def test_a_configuration_cannot_turn_it_on() -> None:
    version = TalosVersion.parse("v1.8.0")
    with pytest.raises(InvalidConfigError) as caught:
        read_machine_config(CONFIG, source="m.yaml", version=version)
    (problem,) = caught.value.problems
    assert problem.startswith("m.yaml:4: ")
    assert problem.endswith("Talos v1.8.0 has no image cache")
    read_machine_config(CONFIG, source="m.yaml", version=TalosVersion.parse("v1.9.0"))


def test_a_cache_does_not_go_with_an_older_release(tmp_path: Path) -> None:
    cache = open_cache(make_flat(tmp_path / "flat", images=1).folder).cache
    with pytest.raises(UnsupportedError, match=r"Talos v1\.8\.0 has no image cache"):
        check_machine_config(
            "machine: {type: worker}",
            source="m.yaml",
            version=TalosVersion.parse("v1.8.0"),
            sized=SizedCache(cache, 1),
        )
