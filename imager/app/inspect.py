"""Inspect an image: its layout, how it boots, and what is in it."""

from __future__ import annotations

from imager.image.inspect.containers import inspect_containers, inspect_reference
from imager.image.inspect.inspection import inspect_source
from imager.image.inspect.model import Inspection
from imager.image.inspect.source import is_url, may_be_archive, open_source
from imager.oci.location import parse_place
from imager.oci.reference import Reference
from imager.oci.settings import RegistrySettings
from imager.support.partials import scratch_folder


def inspect_image(source: str, registries: RegistrySettings | None = None) -> Inspection:
    """Return what is in the image `source`: a path, an https:// URL, or a registry reference.

    Of an URL only parts are read, of a registry only manifests and configurations.

    What is damaged or not known is in the result, as findings and unknowns. Raises InputError if
    the source does not exist or cannot be read, DependencyError if a server fails.
    """
    settings = registries or RegistrySettings()
    place = None if is_url(source) else parse_place(source)
    if isinstance(place, Reference):
        return inspect_reference(place, settings)
    if place is not None and (place.is_dir() or may_be_archive(place)):
        found = inspect_containers(place)
        if found is not None:
            return found
    with scratch_folder() as scratch:
        opened = open_source(str(place or source), scratch=scratch, settings=settings)
        return inspect_source(opened, scratch=scratch)
