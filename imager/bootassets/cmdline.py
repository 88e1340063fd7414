"""The kernel command line of a Talos version, and the user's changes to it."""

from __future__ import annotations

from collections.abc import Iterable

from imager.arch import Arch
from imager.profile.quirks import quirks
from imager.profile.version import TalosVersion

_OVERWRITING = ("console", "talos.platform")


def kernel_cmdline(
    version: TalosVersion,
    arch: Arch,
    *,
    iso: bool,
    secure_boot: bool = False,
    extra: Iterable[str] = (),
) -> str:
    """Return the kernel command line of `version` on `arch`, changed by `extra`.

    Of the extra arguments `-name` and `-name=value` delete, `console` and `talos.platform`
    take the place of the default ones, and all others are appended.
    """
    arguments = [
        item.text
        for item in quirks(version).arguments
        if item.arch in (None, arch.name)
        and (iso or not item.iso_only)
        and (secure_boot or not item.secure_boot_only)
    ]
    replaced: set[str] = set()
    for text in extra:
        name = _name(text)
        if text.startswith("-"):
            arguments = [item for item in arguments if text[1:] not in (item, _name(item))]
        elif name in _OVERWRITING and name not in replaced:
            replaced.add(name)
            arguments = _overwritten(arguments, text)
        elif name in replaced:
            places = (index for index, item in enumerate(arguments) if _name(item) == name)
            last = max(places, default=len(arguments) - 1)
            arguments.insert(last + 1, text)
        else:
            arguments.append(text)
    return " ".join(arguments)


def _name(argument: str) -> str:
    return argument.partition("=")[0]


def _overwritten(arguments: list[str], text: str) -> list[str]:
    name = _name(text)
    places = [index for index, item in enumerate(arguments) if _name(item) == name]
    place = places[0] if places else len(arguments)
    kept = [item for item in arguments if _name(item) != name]
    return [*kept[:place], text, *kept[place:]]
