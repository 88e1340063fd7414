"""Locations of caches: a path, or an image in a registry, also with skopeo's prefixes."""

from __future__ import annotations

from pathlib import Path

import pytest

from imager.cache.location import CacheLocation
from imager.oci.reference import Reference
from imager.support.errors import InputError


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("./image-cache.oci", Path("image-cache.oci")),
        ("image-cache", Path("image-cache")),
        ("/mnt/cache.tar", Path("/mnt/cache.tar")),
        ("oci:/mnt/cache", Path("/mnt/cache")),
        ("oci-archive:cache.tar", Path("cache.tar")),
        ("registry.local/cache:v1", "registry.local/cache:v1"),
        ("docker://registry.local:5000/cache:v1", "registry.local:5000/cache:v1"),
    ],
)
def test_places(text: str, place: Path | str) -> None:
    expected = place if isinstance(place, Path) else Reference.parse_strict(place)
    location = CacheLocation.parse(text)
    assert location == CacheLocation(expected)
    assert location.is_remote is isinstance(place, str)


def test_a_path_that_exists_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("registry.local/cache:v1", "oci:cache"):
        path = Path(name)
        path.mkdir(parents=True)
        assert CacheLocation.parse(name) == CacheLocation(path)


def test_a_registry_reference_is_strict() -> None:
    with pytest.raises(InputError):
        CacheLocation.parse("docker://registry.local/cache")
