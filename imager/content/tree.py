"""Files by their path, before and after a volume is laid out: what all planners share."""

from __future__ import annotations

from dataclasses import dataclass

from imager.content.extents import Content


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A file to be placed; `path` is relative, with forward slashes, folders follow from it."""

    path: str
    content: Content


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """Where a file's data begin: `length` bytes, the first one at `offset` bytes of the volume."""

    path: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """A whole volume, and where the files in it are."""

    content: Content
    files: tuple[PlacedFile, ...]
