"""Which parts of an image's index are cached: by platform, as far as there is a choice."""

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
    """What happens when an image lacks some of several platforms."""

    FAIL = "fail"
    WARN = "warn"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which platforms are wanted, none means all that an image has; and whether signatures are."""

    platforms: tuple[Platform, ...]
    signatures: bool = False
    missing: MissingPlatform = MissingPlatform.FAIL

    @classmethod
    def parse(
        cls,
        texts: Iterable[str],
        *,
        signatures: bool = False,
        missing: MissingPlatform = MissingPlatform.FAIL,
    ) -> Selection:
        """Return the selection of `all`, or of comma-separated platforms such as linux/amd64.

        Raises InputError when one does not parse.
        """
        names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
        if not names:
            raise InvalidImageListError(
                "--platform names no platform", hint="write it as linux/amd64"
            )
        if _ALL in names:
            return cls((), signatures, missing)
        platforms = dict.fromkeys(Platform.parse(name) for name in names)
        return cls(tuple(platforms), signatures, missing)

    def lacking(self, platform: Platform) -> tuple[Platform, ...]:
        """Return the wanted platforms that an image for `platform` alone is not for."""
        return tuple(each for each in self.platforms if not each.matches(platform))


@dataclass(frozen=True, slots=True)
class Choice:
    """The entries of an index to cache, the platforms that they are for, and warnings."""

    entries: tuple[Descriptor, ...]
    platforms: frozenset[Platform] = frozenset()
    warnings: tuple[str, ...] = ()


# Finds the platform of an entry that does not tell it, None for what is no container image.
FindPlatform = Callable[[Descriptor], Platform | None]


def choose(index: Index, selection: Selection, find: FindPlatform) -> Choice:
    """Return what `selection` takes of `index`.

    All platforms are all that the index names, attestations too. Where no entry is for any
    platform (artifacts), there is nothing to choose by, and all of them are taken. Raises
    InputError when a platform is missing, unless others are there and a warning will do.
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
        raise InvalidImageListError(message, hint=f"it has: {there}{more}")
    return Choice(
        tuple(dict.fromkeys(found.values())),
        frozenset(found),
        (f"{message}, only for {there}",) if lacking else (),
    )
