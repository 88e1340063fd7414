"""Lock the images of a cache: each manifest that it would contain, those of signatures too."""

from __future__ import annotations

from collections.abc import Iterator

from imager import __version__
from imager.app.lock.changes import raise_changes
from imager.app.lock.inputs import BuildInput, InputKind
from imager.app.lock.model import Lock
from imager.app.lock.versions import package_versions
from imager.cache.contents import Gathered
from imager.cache.paths import parse_path
from imager.oci.digest import Digest
from imager.oci.reference import Reference
from imager.support.errors import InputError


def lock_images(gathered: Gathered) -> Lock:
    """Return the lock of a cache's images."""
    return Lock(
        imager=__version__,
        inputs=tuple(sorted(_inputs(gathered), key=lambda each: each.name)),
        packages=package_versions(),
    )


def check_images(lock: Lock, gathered: Gathered, *, source: str) -> None:
    """Raise ChangedSinceLockError with all differences of a cache's images from `lock`."""
    if lock.profile is not None:
        raise InputError(
            f"{source} locks a build, not a list of images",
            hint="`imager images lock` locks the images of a cache",
        )
    raise_changes(lock, lock_images(gathered), source, "imager images lock")


def _inputs(gathered: Gathered) -> Iterator[BuildInput]:
    for path, raw in gathered.manifests.items():
        name = parse_path(path)
        if isinstance(name, Reference):
            asked = gathered.asked.get(name)
            place = "" if asked is None else str(asked)
            yield BuildInput(InputKind.IMAGE, str(name), place, Digest.of(raw))
