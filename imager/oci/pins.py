"""Digests that stand for tags: what a locked run asks registries for instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from imager.oci.digest import Digest
from imager.oci.reference import Reference


@dataclass(frozen=True, slots=True)
class Pins:
    """The digest of each pinned reference, and all digests that are known; empty pins nothing."""

    digests: Mapping[Reference, Digest] = field(default_factory=dict)
    known: frozenset[Digest] = frozenset()

    def pinned(self, reference: Reference) -> Reference:
        """Return `reference` with its pinned digest, unless it has one of its own."""
        if reference.digest is not None:
            return reference
        return replace(reference, digest=self.digests.get(reference))

    def leaves_out(self, wanted: Reference | Digest) -> bool:
        """Return whether something was not there when the pins were made, such as a signature."""
        if not self.digests:
            return False
        return wanted not in (self.known if isinstance(wanted, Digest) else self.digests)
