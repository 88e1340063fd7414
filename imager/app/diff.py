"""Compare two images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from imager.app.inspect import inspect_containers_at
from imager.image.inspect.diff import ImageDiff, diff_images, diff_inspections
from imager.image.inspect.inspection import inspect_volumes
from imager.image.inspect.source import open_source
from imager.support.errors import InputError
from imager.support.partials import scratch_folder
from imager.support.reporter import QUIET, Reporter

if TYPE_CHECKING:
    from imager.oci.settings import RegistrySettings


def compare_images(
    old: str,
    new: str,
    registries: RegistrySettings | None = None,
    reporter: Reporter = QUIET,
    *,
    structure: bool = False,
) -> ImageDiff:
    """Return the differences of two images, by meaning and then by their bytes.

    With `structure`, no bytes of files are compared; of container images and caches, it is digests
    in any case. The formats around an image do not count. Raises InputError if a source cannot be
    read or is damaged, DependencyError if a server fails.
    """
    both = [inspect_containers_at(source, registries) for source in (old, new)]
    with scratch_folder() as scratch:
        if both[0] is not None and both[1] is not None:
            return ImageDiff(tuple(diff_inspections(both[0], both[1])))
        if both[0] is not None or both[1] is not None:
            raise InputError(
                f"{old} and {new} cannot be compared: only one of them is a container image or an "
                "image cache",
                hint="give two images of the same kind, or use imager images cache-diff",
            )
        pairs = []
        for source in (old, new):
            opened = open_source(source, scratch=scratch, settings=registries, whole=not structure)
            if opened.problems:
                raise InputError(f"{source}: {opened.problems[0]}")
            pairs.append((opened, inspect_volumes(opened, scratch=Path(scratch))))
        size = 0 if structure else min(each.content.size for each, _ in pairs)
        with reporter.transfer("comparing", size) as advance:
            return diff_images(
                pairs[0], pairs[1], structure=structure, scratch=scratch, progress=advance
            )
