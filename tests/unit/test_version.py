from __future__ import annotations

import pytest

from imager.support.errors import InputError
from imager.talos.config.disk import FIELDS_SINCE
from imager.talos.config.kinds import KINDS
from imager.talos.kernel_arguments import DEFAULT_ARGUMENTS
from imager.talos.platforms import PLATFORMS
from imager.talos.version import DEFAULT_VERSION, NEWEST_KINDS, NEWEST_RULES, TalosVersion


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


@pytest.mark.parametrize(
    "text",
    [
        *("main", "", "v1", "v1.9.0.1", "vv1.9.0", "latest", "v1.9.x", "1.9.", "v1,9.0", " v1.9.0"),
        *("v1.9.0\n", "v1.9.0-", "v1.9.0-a b", "V1.9.0", "v01.9.0", "v1.999999.0", "v1.9.\u0661"),
        f"v1.9.0-{'x' * 64}",
    ],
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a Talos version") as caught:
        TalosVersion.parse(text)
    assert "such as v1.14.0" in caught.value.message
    assert len(caught.value.message) < 120


@pytest.mark.parametrize("text", ["v1.14.9", "v1.14.0-beta.1-5-gad88231-dirty", "1.9"])
def test_a_known_release_has_no_warning(text: str) -> None:
    assert TalosVersion.parse(text).warnings == ()


@pytest.mark.parametrize("text", ["v9.9.9", "v1.15.0-alpha.0", "v2.0.0"])
def test_a_release_newer_than_the_rules_has_one(text: str) -> None:
    (warning,) = TalosVersion.parse(text).warnings
    assert warning.startswith(f"Talos {text} is newer than v1.14, ")


def test_no_table_is_newer_than_it_says() -> None:
    """Else `config check` refuses kinds of a release, or no warning says that its rules are new."""
    platforms = [each for platform in PLATFORMS.values() for each in platform.arguments]
    arguments = [*DEFAULT_ARGUMENTS, *platforms]
    changes = [change for each in arguments for change in (each.since, each.before) if change]
    assert max(changes) <= NEWEST_RULES
    assert max((*KINDS.values(), *FIELDS_SINCE.values())) <= NEWEST_KINDS


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
