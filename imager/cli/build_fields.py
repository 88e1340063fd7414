"""Convert options of a build to values of profile fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from imager.support.errors import InputError


class Field:
    """The profile fields that an option sets, and the conversion of its value.

    `convert` must be a named function: a lambda in an annotation cannot access this module.
    """

    def __init__(self, *paths: str, convert: Callable[[Any], Any] = lambda value: value) -> None:
        self.paths = paths
        self.convert = convert


def image_cache(text: str) -> Mapping[str, Any]:
    """Return the profile's value for the image cache `text`; raises InputError."""
    from imager.app.profiles import image_cache_asset

    return image_cache_asset(text)


def image(text: str) -> Mapping[str, Any]:
    """Return the profile's value for the container image `text`; raises InputError."""
    from imager.app.profiles import image_asset

    return image_asset(text)


def images(texts: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the profile's value for the container images `texts`; raises InputError."""
    from imager.app.profiles import image_asset

    return [*map(image_asset, texts)]


def configuration(path: Path) -> str:
    """Return the machine configuration in the file `path`; raises InputError."""
    from imager.app.profiles import read_embedded

    return read_embedded(path)


def overlay_options(texts: Sequence[str]) -> Mapping[str, Any]:
    """Return the profile's value for the overlay options `texts`; raises InputError."""
    from imager.app import profiles

    return profiles.overlay_options(texts)


def _meta_content(text: str) -> Mapping[str, Any]:
    key, separator, value = text.partition("=")
    if not separator:
        raise InputError(
            f"--meta {text!r} has no value", hint="write it as KEY=VALUE, for example 0xc=value"
        )
    return {"key": key, "value": value}


def meta_contents(texts: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the profile's value for the META values `texts`; raises InputError."""
    return [*map(_meta_content, texts)]
