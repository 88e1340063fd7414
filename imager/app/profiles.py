"""Read built-in profiles and profile files, and write starter profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imager.cache.location import CacheLocation
from imager.oci.location import parse_place, split_name
from imager.oci.reference import Reference
from imager.profile.load import LARGEST_PROFILE, Layer, load_profile, parse_yaml, read_builtin
from imager.profile.model import Profile
from imager.profile.names import builtin_names, is_profile_file
from imager.support.errors import InputError
from imager.support.inputs import STDIN, input_name, read_input

_HINT = "`imager profile init` writes a profile to start from"


def is_name(source: str) -> bool:
    """Return whether `source` names a profile; else it is a file, or standard input."""
    return not (source == STDIN or is_profile_file(source))


def read_layer(source: str) -> Layer:
    """Read the data of a profile: a name, a file, or `-` for standard input.

    A name is that of a base, which may be in an overlay image. Raises InputError if a file is not
    found or is not valid YAML.
    """
    if not is_name(source):
        text = read_input(source, what="profile", limit=LARGEST_PROFILE, hint=_HINT)
        return parse_yaml(text, source=input_name(source))
    return {"baseProfileName": source}


def open_profile(source: str, *layers: Layer) -> Profile:
    """Load the profile `source` (see `read_layer`), overridden by `layers`.

    A layer has the fields of a profile as in YAML: `{"arch": "arm64"}`. Raises InvalidProfileError
    with all problems.
    """
    return load_profile(read_layer(source), *layers, source=input_name(source))


def builtin_profiles() -> Mapping[str, Profile]:
    """Return the built-in profiles by name."""
    return {name: open_profile(name) for name in builtin_names()}


def image_cache_asset(text: str) -> Layer:
    """Return the value of a profile's `input.imageCache` for the cache `text`.

    `text` is parsed by `CacheLocation.parse`.
    """
    location = CacheLocation.parse(text)
    return _asset("imageRef" if location.is_remote else "ociPath", location.place)


def image_asset(text: str) -> Layer:
    """Return the value of a profile's field for the container image `text`.

    `text` is parsed by `parse_place`.
    """
    place = parse_place(text)
    if isinstance(place, Reference):
        return _asset("imageRef", place)
    return _asset("tarballPath" if split_name(place)[0].is_file() else "ociPath", place)


def overlay_options(texts: Sequence[str]) -> Layer:
    """Return the options of an overlay: each text is KEY=VALUE, KEY=@FILE, or @FILE with YAML.

    Raises InputError for another form, and for a file that cannot be read.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if text.startswith("@"):
            found |= parse_yaml(_option_file(text[1:]), source=text[1:])
        elif separator and key:
            found[key] = _option_file(value[1:], exact=True) if value.startswith("@") else value
        else:
            raise InputError(
                f"--overlay-option {text!r} has no value",
                hint="write it as KEY=VALUE, KEY=@FILE, or @FILE with a mapping in YAML",
            )
    return found


def _option_file(path: str, *, exact: bool = False) -> str:
    return read_input(path, what="overlay option", limit=LARGEST_PROFILE, exact=exact)


def read_embedded(path: Path) -> str:
    """Return the machine configuration in the file `path`; raises InputError."""
    text = read_input(str(path), what="machine configuration", limit=LARGEST_PROFILE, exact=True)
    if not text.strip():
        raise InputError(f"{path}: there is no machine configuration in it")
    return text


def _asset(field: str, place: Path | Reference) -> Layer:
    # Empty fields override those of the profile.
    return {"imageRef": "", "ociPath": "", "tarballPath": "", field: str(place)}


def starter_profile(base: str) -> str:
    """Return the YAML of a profile based on the built-in `base`, with every field explained.

    Raises InputError for an unknown base.
    """
    from imager.profile.reference import starter

    read_builtin(base)
    return starter(base)
