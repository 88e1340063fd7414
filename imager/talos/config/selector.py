"""Select the disk of a volume: `provisioning.diskSelector.match` of a VolumeConfig."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imager.talos.config.cel import compiled
from imager.talos.config.disk import Disk
from imager.talos.config.evaluation import evaluate_limited
from imager.talos.version import TalosVersion

SYSTEM_DISK = "system_disk"


@dataclass(frozen=True, slots=True)
class Selector:
    """A valid selector expression; create it with `parse`."""

    text: str

    @classmethod
    def parse(cls, text: str, version: TalosVersion | None = None) -> Selector:
        """Parse the selector `text` for `version` (None: any); raises ExpressionError."""
        compiled(text, version)
        return cls(text)

    def matches(self, disks: Sequence[Disk], *, system_disk: str) -> list[bool]:
        """Return for each disk whether it is selected.

        `system_disk` is the path of the disk with Talos, or empty. Raises ExpressionError if
        evaluation fails, or takes too much time or memory.
        """
        return evaluate_limited(self.text, disks, system_disk=system_disk)
