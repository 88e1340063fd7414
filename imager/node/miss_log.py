"""Records failed pulls of clients: images in no root, and damaged blobs."""

from __future__ import annotations

from imager.oci.reference import is_registry
from imager.registry.app import Exchange
from imager.registry.routes import BlobTarget, ManifestTarget

_MOST = 100
# Longer names are not references that a runtime would request.
_LONGEST = 600
_NOT_FOUND = 404
_OK = (200, 206)


class Pulls:
    """Keeps the last failed pulls, without duplicates."""

    def __init__(self) -> None:
        self._absent: dict[str, str] = {}
        self._damaged: dict[str, str] = {}

    @property
    def absent(self) -> tuple[str, ...]:
        """The references that no root had at their last request."""
        return tuple(self._absent.values())

    @property
    def damaged(self) -> tuple[str, ...]:
        """The problems of blobs at their last request."""
        return tuple(self._damaged.values())

    def note(self, exchange: Exchange) -> None:
        """Record the result of an exchange."""
        target = exchange.route
        if isinstance(target, ManifestTarget):
            namespace = target.repository.namespace or ""
            registry = f"{namespace}/" if is_registry(namespace) else ""
            mark = ":" if isinstance(target.target, str) else "@"
            name = f"{registry}{target.repository.name}{mark}{target.target}"
            if len(name) <= _LONGEST:
                _note(self._absent, name, exchange.status, name)
        elif isinstance(target, BlobTarget):
            _note(self._damaged, str(target.digest), exchange.status, exchange.problem)


def _note(known: dict[str, str], key: str, status: int, value: str) -> None:
    if status == _NOT_FOUND:
        known.pop(key, None)
        known[key] = value
        if len(known) > _MOST:
            del known[next(iter(known))]
    elif status in _OK:
        known.pop(key, None)
