from __future__ import annotations

import pytest

from imager.support.errors import InputError
from imager.talos.ranges import VersionRange
from imager.talos.version import TalosVersion


def contains(text: str, version: str) -> bool:
    return VersionRange.parse(text).contains(TalosVersion.parse(version))


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (">= v1.5.0", ["v1.5.0", "v1.5.0-alpha.1", "v2.0.0"], ["v1.4.9"]),
        (">=1.6.0 <2.0.0", ["v1.6.0", "v1.99.99"], ["v1.5.9", "v2.0.0", "v2.0.0-beta.1"]),
        (">  1.6.0", ["v1.6.1"], ["v1.6.0"]),
        ("<= 1.6.0", ["v1.6.0"], ["v1.6.1"]),
        ("1.6.0", ["v1.6.0", "v1.6.0-rc.1"], ["v1.6.1"]),
        ("==1.6.0", ["v1.6.0"], ["v1.6.1"]),
        ("!1.6.0", ["v1.6.1"], ["v1.6.0"]),
        ("!=1.6.0", ["v1.6.1"], ["v1.6.0"]),
        ("<1.2.0 || >=1.4.0 <1.5.0", ["v1.1.0", "v1.4.3"], ["v1.2.0", "v1.5.0"]),
        (">=1.10.0-alpha.0", ["v1.10.0", "v1.10.0-alpha.0"], ["v1.9.9"]),
        ("<1.10.0-alpha.0", ["v1.9.9"], ["v1.10.0"]),
        ("=1.10.0-alpha.0", [], ["v1.10.0-alpha.0"]),
        (">=1.10.0+build.5", ["v1.10.0"], ["v1.9.0"]),
        ("1.6.x", ["v1.6.0", "v1.6.9"], ["v1.5.9", "v1.7.0"]),
        ("1.x", ["v1.0.0", "v1.99.0"], ["v2.0.0", "v0.9.0"]),
        (">1.6.x", ["v1.7.0"], ["v1.6.9"]),
        (">=1.6.x", ["v1.6.0"], ["v1.5.9"]),
        ("<1.6.x", ["v1.5.9"], ["v1.6.0"]),
        ("<=1.6.x", ["v1.6.9"], ["v1.7.0"]),
        ("!=1.6.x", [], ["v1.5.0", "v1.6.0", "v1.7.0"]),
        ("1.x.x", ["v1.0.5"], ["v1.1.0"]),
        (" >=1.0.0 ", ["v1.0.0"], ["v0.9.0"]),
    ],
)
def test_a_range_contains_what_talos_says(text: str, inside: list[str], outside: list[str]) -> None:
    found = {version: contains(text, version) for version in (*inside, *outside)}
    assert found == dict.fromkeys(inside, True) | dict.fromkeys(outside, False)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "||", "|| 1.0.0", "1.0.0 ||", "1.0.0 || || 2.0.0", "1.0.0||2.0.0"),
        *("latest", ">=", "1.0", ">=1", "1.0.0.0", "01.0.0", ">=1.0.x.x", "x", "1.x.3", "~1.0.0"),
        *("^1.0.0", "=>1.0.0", ">>1.0.0", ">=1.0.0,<2.0.0", ">=1.0.0\n", "1.0.0-", ">= \u0661.0.0"),
        *("1.0.0-a..b", "vv1.0.0", "1.0.0 " * 300),
    ],
)
def test_what_is_not_a_range_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        VersionRange.parse(text)
