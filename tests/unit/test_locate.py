from __future__ import annotations

from pathlib import Path

import pytest

from imager.bootassets.find import (
    Asset,
    asset_places,
    fetch_folder,
    find_assets,
    package_folder,
)
from imager.support.arch import AMD64, ARM64
from imager.support.errors import InputError


def make_assets(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or [asset.value for asset in Asset]:
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.fixture(autouse=True)
def _no_host_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("IMAGER_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


def test_the_places_in_their_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cache = tmp_path / "xdg" / "imager" / "assets"
    assert list(asset_places(None)) == [Path("/usr/install"), cache]
    monkeypatch.setenv("IMAGER_ASSETS", "/env")
    assert list(asset_places(None)) == [Path("/env"), Path("/usr/install"), cache]
    assert list(asset_places(Path("given"))) == [Path("given")]


def test_the_users_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for value in ("", "relative/is/ignored"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert fetch_folder() == Path("/home/me/.cache/imager/assets")
        assert package_folder() == Path("/home/me/.cache/imager/packages")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert fetch_folder() == Path("/xdg/imager/assets")
    monkeypatch.setenv("IMAGER_ASSETS", "/env")
    assert fetch_folder() == Path("/env")


@pytest.mark.parametrize("inner", ["amd64", ""])
def test_a_folder_is_a_talos_layout_or_the_archs_own(tmp_path: Path, inner: str) -> None:
    make_assets(tmp_path / "given" / inner)
    assets = find_assets(AMD64, given=tmp_path / "given")
    for asset in Asset:
        assert assets.path(asset).read_bytes() == asset.value.encode()


def test_the_first_place_with_any_asset_wins_and_none_are_mixed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = make_assets(tmp_path / "env" / "amd64", "vmlinuz")
    make_assets(tmp_path / "xdg" / "imager" / "assets" / "amd64")
    monkeypatch.setenv("IMAGER_ASSETS", str(tmp_path / "env"))
    assets = find_assets(AMD64)
    assert assets.folder == first
    with pytest.raises(InputError) as caught:
        assets.path(Asset.INITRAMFS)
    assert caught.value.message == (
        f"boot asset initramfs.xz for amd64: {first}/initramfs.xz does not exist"
    )


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nothing", "nothing is not a folder"),
        ("file", "file is not a folder"),
        ("empty", "empty has no boot assets for amd64"),
        ("other", "other has no boot assets for amd64"),
    ],
)
def test_a_wrong_folder_in_the_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str, message: str
) -> None:
    """The default in the user's cache must not take its place."""
    make_assets(tmp_path / "xdg" / "imager" / "assets" / "amd64")
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    make_assets(tmp_path / "other" / "arm64")
    monkeypatch.setenv("IMAGER_ASSETS", str(tmp_path / what))
    with pytest.raises(InputError, match=f"^IMAGER_ASSETS=.*{message}$"):
        find_assets(AMD64)
    assert find_assets(AMD64, given=make_assets(tmp_path / "given")).folder
    monkeypatch.setenv("IMAGER_ASSETS", "")
    assert find_assets(AMD64).folder


def test_the_other_archs_assets_do_not_count(tmp_path: Path) -> None:
    make_assets(tmp_path / "given" / "amd64")
    assets = find_assets(ARM64, given=tmp_path / "given")
    with pytest.raises(InputError) as caught:
        assets.path(Asset.KERNEL)
    assert "vmlinuz for arm64" in caught.value.message
    assert "imager assets fetch --arch arm64" in caught.value.hint


def test_nothing_anywhere_says_how_to_get_it() -> None:
    with pytest.raises(InputError, match="no boot assets were found") as caught:
        find_assets(AMD64).path(Asset.SD_STUB)
    assert "imager assets fetch" in caught.value.hint
    assert "--assets" in caught.value.hint


def test_given_files_take_precedence(tmp_path: Path) -> None:
    make_assets(tmp_path / "given" / "amd64")
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine")
    assets = find_assets(AMD64, given=tmp_path / "given", files={Asset.KERNEL: mine})
    assert assets.path(Asset.KERNEL) == mine
    assert assets.path(Asset.SD_BOOT).parent.name == "amd64"


def test_a_given_file_that_is_missing_is_not_replaced(tmp_path: Path) -> None:
    make_assets(tmp_path / "given" / "amd64")
    missing = {Asset.KERNEL: tmp_path / "gone"}
    assets = find_assets(AMD64, given=tmp_path / "given", files=missing)
    with pytest.raises(InputError, match=r"gone does not exist"):
        assets.path(Asset.KERNEL)


def test_a_given_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        find_assets(AMD64, given=tmp_path / "gone")


@pytest.mark.parametrize("place", ["amd64", "."])
def test_the_version_beside_the_assets(tmp_path: Path, place: str) -> None:
    make_assets(tmp_path / "amd64")
    (tmp_path / place / "version").write_text(" v1.9.3\n")
    assert find_assets(AMD64, given=tmp_path).version == "v1.9.3"


def test_no_version_or_an_empty_one(tmp_path: Path) -> None:
    make_assets(tmp_path / "amd64")
    assert find_assets(AMD64, given=tmp_path).version is None
    (tmp_path / "version").write_text("\n")
    assert find_assets(AMD64, given=tmp_path).version is None
    assert find_assets(ARM64).version is None
