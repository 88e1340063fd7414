"""Removing what `imager assets fetch` has made and downloaded: that, and nothing else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imager.bootassets.sources import RECORD
from imager.cli.app import app
from imager.distro.clean import clean, plan_cleaning
from imager.distro.wheels import locked_wheels
from imager.support.arch import AMD64
from imager.support.partials import partial_folder


def deb(name: str) -> str:
    return f"{hashlib.sha256(name.encode()).hexdigest()}.deb"


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    """Make a set of ours for amd64, and one of Talos's for arm64."""
    folder = tmp_path / "assets"
    made_set(folder / "amd64")
    (folder / "arm64").mkdir()
    (folder / "arm64/vmlinuz").write_bytes(b"Talos's")
    return folder


def made_set(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "vmlinuz").write_bytes(bytes(10_000))
    package = {"name": "x", "version": "1", "size": 1, "sha256": deb("used")[:-4]}
    record = {"schema": 1, "arch": "amd64", "packages": [package]}
    (folder / RECORD).write_text(json.dumps(record))


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    folder = tmp_path / "packages"
    folder.mkdir()
    for name in (deb("used"), deb("old"), "notes.txt", f"{'0' * 64}.squashfs", "partial-x"):
        (folder / name).write_bytes(bytes(5000))
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Make what is kept of an image, by its digest and its tag, and a file of the user's."""
    folder = tmp_path / "images"
    (folder / f"sha256-{'a' * 64}/amd64").mkdir(parents=True)
    (folder / f"sha256-{'a' * 64}/amd64/vmlinuz").write_bytes(bytes(5000))
    for name in (f"tag-{'b' * 64}", "sha256-notes"):
        (folder / name).write_text("x")
    return folder


def test_boot_assets_of_images(assets: Path, packages: Path, images: Path) -> None:
    wanted = {f"sha256-{'a' * 64}", f"tag-{'b' * 64}"}
    planned = plan_cleaning(assets, packages, images, stale=False)
    assert {each.path.name for each in planned if each.path.parent == images} == wanted
    clean(planned)
    assert [path.name for path in images.iterdir()] == ["sha256-notes"]


def test_all_that_is_ours(assets: Path, packages: Path, images: Path) -> None:
    planned = plan_cleaning(assets, packages, images, stale=False)
    wanted = {"amd64", deb("used"), deb("old"), f"{'0' * 64}.squashfs", "partial-x"}
    assert {each.path.name for each in planned if each.path.parent != images} == wanted
    assert all(each.size >= 4096 for each in planned)
    clean(planned)
    assert [path.name for path in packages.iterdir()] == ["notes.txt"]
    assert [path.name for path in assets.iterdir()] == ["arm64"]


def test_stale_keeps_what_a_set_was_made_of(assets: Path, packages: Path, images: Path) -> None:
    planned = plan_cleaning(assets, packages, images, stale=True)
    assert {each.path.name for each in planned} == {
        *(deb("old"), f"{'0' * 64}.squashfs", "partial-x"),
    }
    made_set(assets / "node/amd64")
    wheel = f"{locked_wheels(AMD64)[0].sha256}.whl"
    (packages / wheel).touch()
    planned = plan_cleaning(assets, packages, images, stale=True)
    assert {each.path.name for each in planned} == {deb("old"), "partial-x"}


def test_what_a_run_is_downloading_stays(assets: Path, packages: Path, images: Path) -> None:
    with partial_folder(packages / deb("new")) as folder:
        assert folder not in [
            each.path for each in plan_cleaning(assets, packages, images, stale=False)
        ]
    left = packages / ".x.0123456789abcdef.partial"
    left.mkdir()
    assert left in [each.path for each in plan_cleaning(assets, packages, images, stale=True)]


def test_links_are_not_followed(assets: Path, packages: Path, images: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (packages / deb("link")).symlink_to(tmp_path / "mine")
    clean(plan_cleaning(assets, packages, images, stale=False))
    assert (tmp_path / "mine").is_dir()
    assert not (packages / deb("link")).is_symlink()


def test_the_command(
    assets: Path, packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("IMAGER_ASSETS", str(assets))
    (tmp_path / "cache/imager").mkdir(parents=True)
    packages.rename(tmp_path / "cache/imager/packages")
    dry = CliRunner().invoke(app, ["assets", "clean", "--dry-run", "--quiet"])
    assert f"- {assets / 'amd64'} (" in dry.stdout
    assert dry.stdout.splitlines()[-1].startswith("would free ")
    assert (assets / "amd64/vmlinuz").exists()
    done = CliRunner().invoke(app, ["assets", "clean", "--json"])
    found = json.loads(done.stdout)
    assert found["removed"] is True
    assert {Path(each["path"]).name for each in found["paths"]} >= {"amd64", deb("used")}
    assert not (assets / "amd64").exists()
    assert CliRunner().invoke(app, ["assets", "clean"]).stdout == "freed 0 B\n"
