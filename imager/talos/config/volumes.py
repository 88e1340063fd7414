"""Read VolumeConfig documents: the disk and the size of a machine's volumes.

https://docs.siderolabs.com/talos/latest/reference/configuration/block/volumeconfig, and Talos's
own validation (pkg/machinery/config/types/block/volume_config.go).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from imager.support.errors import InputError
from imager.support.units import GIB, MIB, format_size
from imager.support.yamlpaths import value_at
from imager.talos.config.cel import ExpressionError
from imager.talos.config.fields import FieldReader
from imager.talos.config.selector import SYSTEM_DISK, Selector
from imager.talos.config.sizes import SizeLimit, parse_size_limit, parse_volume_size
from imager.talos.constants import EPHEMERAL, IMAGE_CACHE, STATE
from imager.talos.version import TalosVersion

VOLUME_KIND = "VolumeConfig"
DEFAULT_MIN_SIZE = 500 * MIB
DEFAULT_MAX_SIZE = 1 * GIB
_PARTS_OF_EPHEMERAL = ("ETCD", "CRI", "KUBELET", "LOG")
# The volumes that may be configured, and the first release for each.
_NAMES = {
    EPHEMERAL: (1, 8),
    IMAGE_CACHE: (1, 9),
    STATE: (1, 11),
    **dict.fromkeys(_PARTS_OF_EPHEMERAL, (1, 14)),
}
_HEADER = ("apiVersion", "kind", "name")
# Fields, and the first release that supports each.
_FIELDS = {
    "provisioning": (1, 8),
    "encryption": (1, 11),
    "mount": (1, 13),
    "filesystem": (1, 14),
    "trim": (1, 14),
    "scrub": (1, 14),
}
_RELATIVE_SINCE, _NEGATIVE_SINCE = (1, 12), (1, 13)
# Fields that volumes may not have, and the first release that rejects each.
_FORBIDDEN = {
    (IMAGE_CACHE, "mount"): (1, 14),
    (IMAGE_CACHE, "filesystem"): (1, 14),
    (STATE, "provisioning"): (1, 11),
    (STATE, "mount"): (1, 14),
}
_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True, slots=True)
class VolumeSettings:
    """Settings of the IMAGECACHE volume; `min_size` in bytes, `line` is that of its document.

    The volume takes the available space, from `min_size` to `max_size`; with `grow` it grows with
    its disk at later boots.
    """

    selector: Selector
    min_size: int
    max_size: SizeLimit
    grow: bool
    encrypted: bool
    line: int


def read_volume(section: FieldReader, version: TalosVersion | None) -> VolumeSettings | None:
    """Return the settings if a VolumeConfig document is for the image cache, else None.

    Checks every document; reports invalid fields and uses their defaults. With invalid sizes,
    returns None. Anything that `version` (None: any) does not support is a problem.
    """
    name = section.text("name")
    _check_name(section, name, version)
    section.require_known((*_HEADER, *_FIELDS))
    for key in _FIELDS:
        if section.has(key):
            _check_field(section, key, name, version)
    provisioning = section.section("provisioning")
    provisioning.require_known(("diskSelector", "minSize", "maxSize", "grow"))
    selector = _read_selector(provisioning.section("diskSelector"), version)
    grow = provisioning.flag("grow") or False
    before = len(section.problems)
    min_size = _parsed(provisioning, "minSize", parse_volume_size)
    max_size = _parsed(provisioning, "maxSize", parse_size_limit)
    are_sizes_valid = len(section.problems) == before
    if max_size and not max_size.is_fixed and version:
        _check_relative(provisioning, version)
    if not are_sizes_valid:
        return None
    if name != IMAGE_CACHE:
        _check_order(section, min_size, max_size)
        return None
    settings = VolumeSettings(
        selector or Selector(SYSTEM_DISK),
        DEFAULT_MIN_SIZE if min_size is None else min_size,
        SizeLimit(DEFAULT_MAX_SIZE) if max_size is None else max_size,
        grow,
        section.has("encryption"),
        section.line(),
    )
    _check_order(section, settings.min_size, settings.max_size)
    return settings


def _check_name(section: FieldReader, name: str, version: TalosVersion | None) -> None:
    since = _NAMES.get(name)
    if since is None:
        section.report(f"must be one of {', '.join(_NAMES)}", key="name")
    elif version and not version.at_least(*since):
        section.report(version.lacks(f"volume {name}", since), key="name")


def _check_field(section: FieldReader, key: str, name: str, version: TalosVersion | None) -> None:
    forbidden = _FORBIDDEN.get((name, key))
    is_empty = value_at(section.document.value, key) == {}
    if forbidden and not is_empty and (version is None or version.at_least(*forbidden)):
        section.report(f"is not allowed for the volume {name}", key=key)
    elif key == "mount" and name in _PARTS_OF_EPHEMERAL and not section.has("provisioning"):
        section.report(
            f"needs `provisioning`: without it, {name} is a folder of EPHEMERAL", key=key
        )
    elif version and not version.at_least(*_FIELDS[key]):
        since = ".".join(map(str, _FIELDS[key]))
        section.report(f"Talos {version.text} does not support it: v{since} added it", key=key)


def _check_relative(section: FieldReader, version: TalosVersion) -> None:
    if section.text("maxSize").startswith("-"):
        kind, since = "negative sizes", _NEGATIVE_SINCE
    else:
        kind, since = "percentages", _RELATIVE_SINCE
    if not version.at_least(*since):
        section.report(version.lacks(kind, since), key="maxSize")


def _read_selector(section: FieldReader, version: TalosVersion | None) -> Selector | None:
    section.require_known(("match",))
    text = section.text("match")
    try:
        return Selector.parse(text, version) if text else None
    except ExpressionError as error:
        offset = error.offset_in(text) if error.line else None
        section.report(error.message, key="match", offset=offset)
        return None


def _parsed(section: FieldReader, key: str, parse: Callable[[str], _Parsed]) -> _Parsed | None:
    """Return the parsed field `key`; None if it is missing, or invalid, which is reported."""
    text = section.text(key)
    try:
        return parse(text) if text else None
    except InputError as error:
        section.report(error.message, key=key)
        return None


def _check_order(section: FieldReader, min_size: int | None, max_size: SizeLimit | None) -> None:
    if min_size is None or max_size is None or not max_size.is_fixed or min_size <= max_size.size:
        return
    provisioning = section.section("provisioning")
    given = {
        key: "" if provisioning.has(key) else ", the default" for key in ("minSize", "maxSize")
    }
    provisioning.report(
        f"minSize ({format_size(min_size)}{given['minSize']}) is larger than maxSize "
        f"({max_size}{given['maxSize']})",
        key="maxSize" if given["minSize"] else "minSize",
    )
