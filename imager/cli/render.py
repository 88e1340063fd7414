"""Results for a person and for a program: plans and summaries as text and JSON."""

from __future__ import annotations

import json
from typing import Any

from imager.build import Planned
from imager.cli.tables import exact_size, table
from imager.imagecache.cache import ImageCache
from imager.output.write import Written
from imager.screen import printable
from imager.units import count
from imager.workspace import free_space


def plan_text(planned: Planned) -> str:
    """Return the plan as a table of partitions and files, and what it needs."""
    rows = [("OFFSET", "LENGTH", "KIND", "NAME")]
    rows += [
        (
            str(region.offset),
            str(region.length),
            region.kind.value,
            f"{region.name} ({region.detail})" if region.detail else region.name,
        )
        for region in planned.plan.regions
    ]
    space = _space(planned)
    size = planned.plan.content.size
    lines = [
        *table(rows, numbers=2),
        "",
        f"output           {planned.path} ({planned.out_format.value})",
        f"talos            {planned.version.text}, {planned.assets.arch.name}",
        f"boot assets      {planned.assets.folder or 'given one by one'}",
        f"image cache      {_cache_line(planned.cache)}",
        f"total size       {exact_size(size)}",
        f"space needed     {exact_size(planned.space_needed)}",
        f"space free       {exact_size(space)} in {planned.path.parent}",
    ]
    if planned.plan.minimum_disk_size is not None:
        lines.append(
            f"smallest disk    --image-disk-size={planned.plan.minimum_disk_size >> 20}MiB"
        )
    lines.extend(f"note             {note}" for note in planned.plan.notes)
    return printable("\n".join(lines))


def plan_json(planned: Planned) -> str:
    """Return the plan as one JSON object; sizes and offsets in bytes."""
    plan = planned.plan
    value = {
        **_common(planned),
        "size": plan.content.size,
        "spaceNeeded": planned.space_needed,
        "spaceFree": _space(planned),
        "minimumDiskSize": plan.minimum_disk_size,
        "regions": [
            {
                "kind": region.kind.value,
                "name": region.name,
                "offset": region.offset,
                "length": region.length,
                "detail": region.detail,
            }
            for region in plan.regions
        ],
    }
    return json.dumps(value, indent=2)


def result_text(planned: Planned, written: Written, seconds: float) -> str:
    """Return the summary of a build."""
    lines = [
        f"{written.path}: {exact_size(written.size)} in {seconds:.1f} s",
        f"  talos {planned.version.text}, {planned.assets.arch.name}; "
        f"image cache: {_cache_line(planned.cache)}",
    ]
    if written.sha256:
        lines.append(f"  sha256 {written.sha256}")
    lines.extend(f"  {note}" for note in planned.plan.notes)
    return printable("\n".join(lines))


def result_json(planned: Planned, written: Written, seconds: float) -> str:
    """Return the summary of a build as one JSON object."""
    value = {
        **_common(planned),
        "size": written.size,
        "sha256": written.sha256,
        "seconds": round(seconds, 3),
    }
    return json.dumps(value, indent=2)


def _common(planned: Planned) -> dict[str, Any]:
    cache = planned.cache
    return {
        "output": str(planned.path),
        "format": planned.out_format.value,
        "version": planned.version.text,
        "arch": planned.assets.arch.name,
        "imageCache": cache
        and {
            "source": cache.source,
            "size": cache.size,
            "blobs": len(cache.blobs),
            "images": [str(reference) for reference in cache.images],
            "platforms": [str(platform) for platform in cache.platforms],
        },
        "notes": list(planned.plan.notes),
    }


def _cache_line(cache: ImageCache | None) -> str:
    if cache is None:
        return "none"
    platforms = ", ".join(str(platform) for platform in cache.platforms)
    return (
        f"{count(len(cache.images), 'image')}{f' for {platforms}' if platforms else ''}, "
        f"{count(len(cache.blobs), 'blob')}, "
        f"{exact_size(cache.size)}"
    )


def _space(planned: Planned) -> int:
    folder = planned.path.parent
    while not folder.exists():
        folder = folder.parent
    return free_space(folder)
