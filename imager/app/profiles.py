"""Profiles: built-in ones, files, and a new one to start from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from imager.cache.location import CacheLocation
from imager.profile.load import LARGEST_PROFILE, Layer, load_profile, parse_yaml, read_builtin
from imager.profile.model import Profile
from imager.profile.names import builtin_names
from imager.profile.reference import starter
from imager.support.atomic import atomic_file
from imager.support.inputs import STDIN, input_name, read_input

_HINT = "`imager profile init` writes a profile to start from"


def read_layer(source: str) -> Layer:
    """Return the data of a profile: a built-in one, a file, or `-` for standard input.

    Raises InputError when there is none, or it is not YAML.
    """
    if source == STDIN or "/" in source or source.endswith((".yaml", ".yml")):
        text = read_input(source, what="profile", limit=LARGEST_PROFILE, hint=_HINT)
        return parse_yaml(text, source=input_name(source))
    return read_builtin(source)


def open_profile(source: str, *layers: Layer) -> Profile:
    """Return the profile `source`, as `read_layer` takes it, with `layers` laid over it.

    A layer has the fields of a profile as YAML has them: `{"arch": "arm64"}`. Raises
    InvalidProfileError with all that is wrong.
    """
    return load_profile(read_layer(source), *layers, source=input_name(source))


def builtin_profiles() -> Mapping[str, Profile]:
    """Return the built-in profiles by name."""
    return {name: open_profile(name) for name in builtin_names()}


def image_cache_asset(text: str) -> Layer:
    """Return what a profile has at `input.imageCache` for the cache that `text` names.

    `text` is parsed by `CacheLocation.parse`.
    """
    location = CacheLocation.parse(text)
    field = "imageRef" if location.is_remote else "ociPath"
    # The empty fields replace those of the profile.
    return {"imageRef": "", "ociPath": "", "tarballPath": "", field: str(location.place)}


def starter_profile(base: str) -> str:
    """Return YAML based on the built-in profile `base`, with every field explained.

    Raises InputError for an unknown name.
    """
    read_builtin(base)
    return starter(base)


def write_starter(path: Path, text: str) -> None:
    """Write a profile to a new file; raises InputError if `path` exists."""
    with (
        atomic_file(path, clobber=False) as descriptor,
        open(descriptor, "w", encoding="utf-8", closefd=False) as out,
    ):
        out.write(text)
