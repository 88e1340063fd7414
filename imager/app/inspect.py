"""Inspect an image: its layout, how it boots, and what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from imager.image.inspect.inspection import inspect_source
from imager.image.inspect.model import Inspection
from imager.image.inspect.source import is_url, may_be_archive, open_source
from imager.support.partials import scratch_folder

if TYPE_CHECKING:
    from imager.oci.settings import RegistrySettings


def inspect_image(source: str, registries: RegistrySettings | None = None) -> Inspection:
    """Return what is in the image `source`: a path, an https:// URL, or a registry reference.

    Of a URL only parts are read, of a registry only manifests and configurations. `registries` are
    settings for both. What is damaged or not known is in the result, as findings and unknowns.
    Raises InputError if the source does not exist or cannot be read, DependencyError if a server
    fails.
    """
    found = inspect_containers_at(source, registries)
    if found is not None:
        return found
    with scratch_folder() as scratch:
        opened = open_source(source, scratch=scratch, settings=registries)
        return inspect_source(opened, scratch=scratch)


def inspect_containers_at(source: str, registries: RegistrySettings | None) -> Inspection | None:
    """Return what is in a reference, layout, archive or cache; None if the source is another."""
    path = Path(source)
    if is_url(source) or (path.exists() and not path.is_dir() and not may_be_archive(path)):
        return None
    from imager.image.inspect.containers import inspect_containers, inspect_reference
    from imager.oci.location import parse_place
    from imager.oci.settings import RegistrySettings

    place = parse_place(source)
    if not isinstance(place, Path):
        return inspect_reference(place, registries or RegistrySettings())
    return inspect_containers(place) if place.exists() else None
