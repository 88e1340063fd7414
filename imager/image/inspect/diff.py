"""Compare two images: by meaning, then file by file, then by their bytes.

The formats around an image do not count: a qcow2 in a `.zst` can be equal to a raw disk.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

from imager.content.compare import first_difference
from imager.content.tree import Tree
from imager.image.inspect.diff_files import Change, Comparison
from imager.image.inspect.inside import inside_source
from imager.image.inspect.inspection import Inspected
from imager.image.inspect.model import Inspection
from imager.image.inspect.source import OpenedSource
from imager.image.inspect.volumes import Volume, whole_tree
from imager.support.errors import InputError, UnsupportedError

_SINGLE = ("kind", "size", "talos")
# What names an item of each section; what is listed several times is numbered.
_KEYS: Mapping[str, tuple[str, ...]] = {
    "partitions": ("number",),
    "volumes": ("place",),
    "boot": ("by", "place", "path", "title"),
    "kernels": ("place", "path"),
    "ukis": ("place", "path"),
    "initramfs": ("place", "path"),
    "efi": ("place", "path"),
    "keys": ("place", "path", "variable"),
    "meta": ("key",),
    "containers": ("name", "platform", "kind"),
}
_NAMES = {
    "partitions": "partition",
    "volumes": "file system",
    "boot": "boot entry",
    "kernels": "kernel",
    "ukis": "UKI",
    "initramfs": "initramfs",
    "efi": "EFI binary",
    "keys": "keys",
    "meta": "META",
    "containers": "container image",
}
_NOTHING = ""


@dataclass(frozen=True, slots=True)
class ImageDiff:
    """The differences of two images.

    `first_byte` is the first byte that differs, if the bytes were compared and do; `region` is
    where it is. `unread` says what could not be compared by its files.
    """

    changes: tuple[Change, ...]
    first_byte: int | None = None
    region: str = ""
    unread: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether no difference was found."""
        return not self.changes and self.first_byte is None


def diff_inspections(old: Inspection, new: Inspection) -> Iterator[Change]:
    """Yield the differences in what two images are and have, but not in their files."""
    for name in _SINGLE:
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield Change("image", _NOTHING, _text(before), _text(after), name)
    yield from _fields("partition table", _NOTHING, old.table, new.table)
    for section, keys in _KEYS.items():
        yield from _items(
            _NAMES[section],
            _named(getattr(old, section), keys),
            _named(getattr(new, section), keys),
        )
    yield from _items("extension", _extensions(old), _extensions(new))
    caches = [_named(each.cache.images if each.cache else (), ("name",)) for each in (old, new)]
    yield from _items("cached image", *caches)


def _named(items: Iterable[object], keys: tuple[str, ...]) -> dict[str, object]:
    found: dict[str, object] = {}
    for item in items:
        parts = [str(getattr(item, key)) for key in keys]
        name = " ".join(part for part in parts if part)
        number = 2
        unique = name
        while unique in found:
            unique = f"{name} #{number}"
            number += 1
        found[unique] = item
    return found


def _extensions(found: Inspection) -> dict[str, object]:
    return _named(
        (each for initramfs in found.initramfs for each in initramfs.extensions), ("name",)
    )


def _items(
    what: str, before: Mapping[str, object], after: Mapping[str, object]
) -> Iterator[Change]:
    for name, item in before.items():
        if name not in after:
            yield Change(what, name, _text(item), None)
        else:
            yield from _fields(what, name, item, after[name])
    for name, item in after.items():
        if name not in before:
            yield Change(what, name, None, _text(item))


def _fields(what: str, name: str, old: object, new: object) -> Iterator[Change]:
    """Yield the fields that differ; those of profiles and signatures are compared as a whole."""
    if old == new:
        return
    if old is None or new is None or not is_dataclass(old) or isinstance(old, type):
        yield Change(what, name, _or_none(old), _or_none(new))
        return
    for each in fields(old):
        before, after = getattr(old, each.name), getattr(new, each.name)
        if isinstance(before, tuple) and isinstance(after, tuple):
            for index in range(max(len(before), len(after))):
                one, other = (
                    side[index] if index < len(side) else None for side in (before, after)
                )
                if one != other:
                    where = f"{each.name}[{index}]"
                    yield Change(what, name, _or_none(one), _or_none(other), where)
        elif before != after:
            yield Change(what, name, _text(before), _text(after), each.name)


def _or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _text(value: object) -> str:
    """Return a value in one line: the fields of an item that say something."""
    match value:
        case None:
            return "unknown"
        case enum.Enum():
            return str(value.value)
        case Mapping():
            return ", ".join(f"{key}={_text(each)}" for key, each in value.items())
        case tuple():
            return ", ".join(map(_text, value))
    if is_dataclass(value) and not isinstance(value, type):
        parts = ((each.name, getattr(value, each.name)) for each in fields(value))
        return ", ".join(
            f"{name}={_text(each)}" for name, each in parts if each not in ("", (), None)
        )
    return str(value)


def diff_images(
    old: tuple[OpenedSource, Inspected],
    new: tuple[OpenedSource, Inspected],
    *,
    structure: bool,
    scratch: Path,
    progress: Callable[[int], None] = lambda _count: None,
) -> ImageDiff:
    """Return the differences of two images; with `structure`, bytes are not compared.

    Then files are compared by name and size. Raises InputError for a source that ends early,
    OutputError if one cannot be read.
    """
    contents = old[0].content, new[0].content
    first = None if structure else first_difference(*contents, progress)
    if not structure and first is None:
        return ImageDiff(())
    changes = list(diff_inspections(old[1].inspection, new[1].inspection))
    unread: list[str] = []
    comparison = Comparison(structure=structure, scratch=scratch)
    before, after = (_trees(*each, scratch, unread) for each in (old, new))
    for place in before.keys() & after.keys():
        changes += comparison.trees(place, before[place], after[place])
    changes.sort(key=lambda each: each.what == "file")
    region = _region(old[1].inspection, first) if first is not None else ""
    return ImageDiff(tuple(changes), first, region, tuple(dict.fromkeys(unread)))


def _trees(
    opened: OpenedSource, inspected: Inspected, scratch: Path, unread: list[str]
) -> dict[str, Tree]:
    """Return the trees of an image's file systems by place; of another image, what is inside."""
    if not inspected.volumes:
        try:
            return {_NOTHING: inside_source(opened, scratch=scratch).tree}
        except (InputError, UnsupportedError):
            return {}
    found: dict[str, Tree] = {}
    for volume in inspected.volumes:
        try:
            found[volume.place] = whole_tree(volume)
        except (InputError, UnsupportedError) as error:
            unread.append(_reason(volume, error.message))
    return found


def _reason(volume: Volume, message: str) -> str:
    return f"{volume.place}: {message.removeprefix(f'{volume.place}: ')}"


def _region(found: Inspection, offset: int) -> str:
    """Return the name of the region that has a byte."""
    for region in found.regions:
        if region.offset <= offset < region.offset + region.size:
            return region.name
    return ""
