from __future__ import annotations

import pytest

from imager.profile.version import DEFAULT_VERSION, TalosVersion


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("v1.9.0", (1, 9, 0)),
        ("1.9", (1, 9, 0)),
        ("v1.10.0-alpha.1", (1, 10, 0)),
        ("v1.13.9+dirty", (1, 13, 9)),
    ],
)
def test_versions_parse(text: str, numbers: tuple[int, int, int]) -> None:
    version = TalosVersion.parse(text)
    assert version.numbers == numbers
    assert version.text == text


@pytest.mark.parametrize("text", ["main", "", "v1", "v1.9.0.1", "vv1.9.0", "latest"])
def test_what_does_not_parse_is_the_latest(text: str) -> None:
    assert TalosVersion.parse(text) > TalosVersion.parse("v999.0.0")
    assert TalosVersion.parse(text).at_least(1, 14)


def test_versions_order_by_number_not_by_letter() -> None:
    written = ["v1.10.0", "1.9", "v1.9.1", "v1.13.0", "v1.2.9"]
    ordered = [str(version.text) for version in sorted(map(TalosVersion.parse, written))]
    assert ordered == ["v1.2.9", "1.9", "v1.9.1", "v1.10.0", "v1.13.0"]


def test_at_least_includes_the_version_itself() -> None:
    version = TalosVersion.parse("v1.10.0")
    assert version.at_least(1, 10)
    assert version.at_least(1, 9)
    assert not version.at_least(1, 11)
    assert not TalosVersion.parse("v1.9.99").at_least(1, 10)


def test_the_default_is_the_release_of_the_documents() -> None:
    assert DEFAULT_VERSION == "v1.9.0"
