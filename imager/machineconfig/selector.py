"""Which disk a volume is made on: `provisioning.diskSelector.match` of a VolumeConfig."""

from __future__ import annotations

from dataclasses import dataclass, field

from imager.machineconfig.disk import Disk
from imager.machineconfig.expression import disk_bindings, parse_expression
from imager.machineconfig.terms import Term

SYSTEM_DISK = "system_disk"


@dataclass(frozen=True, slots=True)
class Selector:
    """A checked selector expression. Build one with `parse`."""

    text: str
    _term: Term = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Return the selector that `text` says; raises ExpressionError, which has the column."""
        return cls(text, parse_expression(text))

    def matches(self, disk: Disk, *, system_disk: bool) -> bool:
        """Whether it selects `disk`; `system_disk` tells if Talos is on it.

        Raises ExpressionError when it cannot be told: a division by zero, a result out of range.
        """
        return bool(self._term.evaluate(disk_bindings(disk, system_disk=system_disk)))
