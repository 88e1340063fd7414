"""What `cache-create` is going to do, and what it has done, for a person and for a program."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from imager.cache.plan import CreationPlan
from imager.cache.staging import kept_from_earlier
from imager.cache.write import Created
from imager.cli.tables import exact_size
from imager.support.folders import free_space
from imager.support.screen import printable
from imager.support.units import count


@dataclass(frozen=True, slots=True)
class CreationReport:
    """What is told of a cache of `images` images that comes to `path`, as it was written."""

    plan: CreationPlan
    path: Path
    images: int

    def plan_text(self) -> str:
        """Return the plan as a table."""
        plan, options = self.plan, self.plan.options
        form = f"{options.layout.value}, compression {options.compression.value}"
        if options.archive is not None:
            form = f"{options.layout.value} in a {options.archive.value}"
        rows = {
            "image cache": f"{self.path} ({form})",
            "images": f"{self.images} for {self._platforms}",
            "blobs": str(len(plan.gathered.blobs)),
            "size": exact_size(plan.gathered.size),
            "to write": exact_size(plan.packing.size),
            "to fetch": exact_size(self._to_fetch),
            "kept from before": exact_size(kept_from_earlier(plan)),
            "space needed": exact_size(plan.packing.needed),
            "space free": f"{exact_size(free_space(plan.target.parent))} in {plan.target.parent}",
        }
        return printable("\n".join(f"{name:<17}{value}" for name, value in rows.items()))

    def plan_json(self) -> str:
        """Return the plan as one JSON object; sizes in bytes."""
        value = {
            **self._common(),
            "writtenSize": self.plan.packing.size,
            "toFetch": self._to_fetch,
            "keptFromBefore": kept_from_earlier(self.plan),
            "spaceNeeded": self.plan.packing.needed,
            "spaceFree": free_space(self.plan.target.parent),
        }
        return json.dumps(value, indent=2)

    def created_text(self, created: Created) -> str:
        """Return the summary of the cache when it is made."""
        lines = [
            f"{self.path}: {count(self.images, 'image')} for {self._platforms}, "
            f"{count(len(self.plan.gathered.blobs), 'blob')}, {exact_size(self.plan.gathered.size)}"
        ]
        if created.layer is not None:
            lines.append(f"  layer {created.layer.digest}, {exact_size(created.layer.size)}")
        return printable("\n".join(lines))

    def created_json(self, created: Created) -> str:
        """Return the summary as one JSON object; sizes in bytes."""
        layer = created.layer
        told = layer and {"digest": str(layer.digest), "size": layer.size}
        return json.dumps({**self._common(), "layer": told}, indent=2)

    def _common(self) -> dict[str, object]:
        options, gathered = self.plan.options, self.plan.gathered
        return {
            "path": str(self.path),
            "layout": options.layout.value,
            "layerCompression": options.compression.value,
            "archive": options.archive and options.archive.value,
            "images": self.images,
            "platforms": [str(platform) for platform in sorted(gathered.platforms)],
            "blobs": len(gathered.blobs),
            "size": gathered.size,
        }

    @property
    def _platforms(self) -> str:
        return ", ".join(map(str, sorted(self.plan.gathered.platforms))) or "any platform"

    @property
    def _to_fetch(self) -> int:
        missing = sum(source.blob.size for source in self.plan.missing.values())
        return max(missing - kept_from_earlier(self.plan), 0)
