"""Format the results of `imager config check` as text and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from imager.app.check_config import Checked
from imager.cli.tables import exact_size, json_object
from imager.support.errors import InvalidConfigError
from imager.support.units import count, format_size
from imager.talos.config.document import ImageCacheSettings
from imager.talos.config.volumes import VolumeSettings


def checked_text(checked: Checked) -> Iterator[str]:
    """Format the cache settings of a valid configuration and the required volume size."""
    config, sized = checked.config, checked.sized
    found = count(len(checked.warnings), "warning") if checked.warnings else "no problems found"
    needed = f"{len(checked.images)} needed" + (", all in the cache" if sized else "")
    if config.is_patch:
        needed += "; those of Talos are not checked in a patch (machine.type is missing)"
    volume = _volume(config.volume) if config.volume else "none for the image cache"
    yield f"{config.source}: {count(len(config.documents), 'document')}, {found}"
    yield f"image cache   {_cache(config.image_cache)}"
    yield f"volume        {volume}"
    yield f"images        {needed}"
    if sized:
        yield f"needs         a volume of {exact_size(sized.volume_size)}"


def checked_json(checked: Checked) -> dict[str, Any]:
    """Return the JSON object of `checked_text`; sizes in bytes."""
    config, volume = checked.config, checked.config.volume
    return {
        "source": config.source,
        "ok": True,
        "problems": [],
        "warnings": list(checked.warnings),
        "patch": config.is_patch,
        "imageCache": config.image_cache.enabled,
        "volume": volume
        and {**json_object(volume, without="selector"), "selector": volume.selector.text},
        "images": [str(image) for image in checked.images],
        "neededVolumeSize": checked.sized and checked.sized.volume_size,
    }


def unchecked_json(source: str, error: InvalidConfigError) -> dict[str, Any]:
    """Return the problems of an invalid configuration as a JSON object like `checked_json`."""
    return {
        "source": source,
        "ok": False,
        "problems": list(error.problems),
        "warnings": list(error.warnings),
    }


def _cache(settings: ImageCacheSettings) -> str:
    where = f" ({settings.where}, line {settings.line})" if settings.where else ""
    return ("on" if settings.enabled else "off") + where


def _volume(volume: VolumeSettings) -> str:
    text = f"{format_size(volume.min_size)} to {volume.max_size}, on {volume.selector.text}"
    extra = [", grows" if volume.grow else "", ", encrypted" if volume.encrypted else ""]
    return " ".join(f"{text}{''.join(extra)} (line {volume.line})".split())
