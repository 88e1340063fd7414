"""Format the plan and the result of `cache-create` as text and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from imager.cache.plan import CreationPlan
from imager.cache.staging import kept_from_earlier
from imager.cache.write import Created
from imager.cli.tables import blob_json, exact_size
from imager.support.folders import free_space
from imager.support.units import count


def plan_text(plan: CreationPlan) -> list[str]:
    """Format the plan as a table."""
    options = plan.options
    form = f"{options.layout.value}, compression {options.compression.value}"
    if options.archive is not None:
        form = f"{options.layout.value} in a {options.archive.value}"
    rows = {
        "image cache": f"{plan.path} ({form})",
        "images": f"{plan.gathered.images} for {_platforms(plan)}",
        "blobs": str(len(plan.gathered.blobs)),
        "size": exact_size(plan.gathered.size),
        "to write": exact_size(plan.packing.size),
        "to fetch": exact_size(_to_fetch(plan)),
        "kept from before": exact_size(kept_from_earlier(plan)),
        "space needed": exact_size(plan.packing.needed),
        "space free": f"{exact_size(free_space(plan.target.parent))} in {plan.target.parent}",
    }
    return [f"{name:<17}{value}" for name, value in rows.items()]


def plan_json(plan: CreationPlan) -> dict[str, Any]:
    """Return the plan for JSON; sizes in bytes."""
    return {
        **_common(plan),
        "writtenSize": plan.packing.size,
        "toFetch": _to_fetch(plan),
        "keptFromBefore": kept_from_earlier(plan),
        "spaceNeeded": plan.packing.needed,
        "spaceFree": free_space(plan.target.parent),
    }


def created_text(plan: CreationPlan, created: Created) -> Iterator[str]:
    """Format the summary of a created cache."""
    images = f"{count(plan.gathered.images, 'image')} for {_platforms(plan)}"
    blobs = f"{count(len(plan.gathered.blobs), 'blob')}, {exact_size(plan.gathered.size)}"
    yield f"{plan.path}: {images}, {blobs}"
    if created.layer is not None:
        yield f"  layer {created.layer.digest}, {exact_size(created.layer.size)}"


def created_json(plan: CreationPlan, created: Created) -> dict[str, Any]:
    """Return the summary for JSON; sizes in bytes."""
    layer = created.layer and blob_json(created.layer.digest, created.layer.size)
    return {**_common(plan), "layer": layer}


def _common(plan: CreationPlan) -> dict[str, Any]:
    options, gathered = plan.options, plan.gathered
    return {
        "path": str(plan.path),
        "layout": options.layout.value,
        "layerCompression": options.compression.value,
        "archive": options.archive and options.archive.value,
        "images": gathered.images,
        "platforms": [str(platform) for platform in sorted(gathered.platforms)],
        "blobs": len(gathered.blobs),
        "size": gathered.size,
    }


def _platforms(plan: CreationPlan) -> str:
    return ", ".join(map(str, sorted(plan.gathered.platforms))) or "any platform"


def _to_fetch(plan: CreationPlan) -> int:
    missing = sum(source.blob.size for source in plan.missing.values())
    return max(missing - kept_from_earlier(plan), 0)
