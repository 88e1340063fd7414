"""Inspect an image: its layout, how it boots, and what is in it."""

from __future__ import annotations

from imager.image.inspect.inspection import inspect_source
from imager.image.inspect.model import Inspection
from imager.image.inspect.source import open_source
from imager.oci.settings import RegistrySettings
from imager.support.partials import scratch_folder


def inspect_image(source: str, registries: RegistrySettings | None = None) -> Inspection:
    """Return what is in the image `source`: a path, or an https:// URL of which parts are read.

    What is damaged or not known is in the result, as findings and unknowns. Raises InputError if
    the source does not exist or cannot be read, DependencyError if a server fails.
    """
    with scratch_folder() as scratch:
        opened = open_source(source, scratch=scratch, settings=registries)
        return inspect_source(opened, scratch=scratch)
