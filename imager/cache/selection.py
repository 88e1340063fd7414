"""Select the manifests of an image's index to cache, by platform where possible."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from imager.cache.errors import InvalidImageListError
from imager.oci.manifest import Descriptor, Index
from imager.oci.platform import Platform

DEFAULT_PLATFORM = "linux/amd64"
_ALL = "all"


class MissingPlatform(enum.Enum):
    """How to handle an image that lacks some of several platforms."""

    FAIL = "fail"
    WARN = "warn"


@dataclass(frozen=True, slots=True)
class Selection:
    """The platforms to cache (empty means all), and whether to cache signatures."""

    platforms: tuple[Platform, ...]
    signatures: bool = False
    missing: MissingPlatform = MissingPlatform.FAIL

    def lacking(self, platform: Platform) -> tuple[Platform, ...]:
        """Return the wanted platforms that an image for only `platform` does not support."""
        return tuple(each for each in self.platforms if not each.matches(platform))


def parse_platforms(texts: Iterable[str]) -> tuple[Platform, ...]:
    """Parse comma-separated platforms such as linux/amd64; `all` gives an empty result.

    Raises InputError for an invalid platform.
    """
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    if not names:
        raise InvalidImageListError("--platform is empty", hint="write a platform as linux/amd64")
    if _ALL in names:
        return ()
    return tuple(dict.fromkeys(map(Platform.parse, names)))


@dataclass(frozen=True, slots=True)
class Choice:
    """The entries of an index to cache, their platforms, and warnings."""

    entries: tuple[Descriptor, ...]
    platforms: frozenset[Platform] = frozenset()
    warnings: tuple[str, ...] = ()


# Finds the platform of an entry without one; returns None if it is not a container image.
FindPlatform = Callable[[Descriptor], Platform | None]


def choose(index: Index, selection: Selection, find: FindPlatform) -> Choice:
    """Apply `selection` to the entries of `index`.

    A selection of all platforms includes every entry, even attestations. If no entry has a platform
    (artifacts), all are included. Raises InputError if a platform is missing, unless others are
    available and the selection asks for a warning only.
    """
    told = {entry: entry.platform.normalised() for entry in index.images if entry.platform}
    by_platform = {platform: entry for entry, platform in reversed(told.items())}
    others: list[Descriptor] = []
    if not selection.platforms or not set(selection.platforms) <= by_platform.keys():
        for entry in index.images:
            platform = None if entry in told else find(entry)
            if platform is not None:
                by_platform.setdefault(platform, entry)
            elif entry not in told:
                others.append(entry)
    if not selection.platforms:
        return Choice(index.manifests, frozenset(by_platform))
    if others and not by_platform:
        return Choice(tuple(others))
    return _of_platforms(by_platform, selection)


def _of_platforms(by_platform: dict[Platform, Descriptor], selection: Selection) -> Choice:
    found = {each: by_platform[each] for each in selection.platforms if each in by_platform}
    lacking = ", ".join(str(each) for each in selection.platforms if each not in found)
    there = ", ".join(map(str, sorted(by_platform))) or "no platform"
    message = f"there is no image for {lacking}"
    if lacking and not (found and selection.missing is MissingPlatform.WARN):
        more = "; --missing-platform warn caches the others" if found else ""
        raise InvalidImageListError(message, hint=f"available: {there}{more}")
    return Choice(
        tuple(dict.fromkeys(found.values())),
        frozenset(found),
        (f"{message}, only for {there}",) if lacking else (),
    )
