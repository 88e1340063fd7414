from __future__ import annotations

from pathlib import Path

import pytest

from imager.distro import apt
from imager.support.arch import AMD64
from imager.support.errors import DependencyError, InputError


def no_apt(argv: object, **options: object) -> bytes:
    raise DependencyError("apt-get is not installed")


def test_the_callers_mirror_comes_first() -> None:
    asked = {"IMAGER_DEBIAN_MIRROR": "http://mirror.example/debian/"}
    assert apt.find_mirror(asked) == "http://mirror.example/debian/"


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (
            "Ubuntu|Ubuntu|main|http://u.example/ubuntu/\n"
            "Debian|Debian-Security|main|http://d.example/debian-security/\n"
            "Debian|Debian|main|http://d.example/debian/\n",
            "http://d.example/debian/",
        ),
        ("||stable|http://third.example/linux/debian/\n||main|http://d.example/debian/\n",
         "http://d.example/debian/"),
    ],
)  # fmt: skip
def test_the_hosts_own_mirror_is_found(
    monkeypatch: pytest.MonkeyPatch, known: str, expected: str
) -> None:
    monkeypatch.setattr(apt, "run_tool", lambda *_, **__: known.encode())
    assert apt.find_mirror({}) == expected


def test_without_any_mirror_the_hint_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "run_tool", no_apt)
    monkeypatch.setattr(apt, "TEMPLATE", Path("/nonexistent"))
    with pytest.raises(DependencyError, match="no Debian mirror") as caught:
        apt.find_mirror({})
    assert "IMAGER_DEBIAN_MIRROR" in caught.value.hint


def test_another_distribution_knows_debian_by_its_templates(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    template = tmp_path / "Debian.info"
    template.write_text("Suite: {series}\nBaseURI: https://d.example/debian/\n")
    monkeypatch.setattr(apt, "run_tool", no_apt)
    monkeypatch.setattr(apt, "TEMPLATE", template)
    assert apt.find_mirror({}) == "https://d.example/debian/"


@pytest.mark.parametrize(
    "mirror", ["", "mirror", "http://a b/", "http://a/\ndeb http://b/", "[trusted=yes] http://a/"]
)
def test_a_mirror_cannot_change_how_it_is_trusted(mirror: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not the URL"):
        apt.open_apt(AMD64, mirror=mirror, folder=tmp_path / "apt")
