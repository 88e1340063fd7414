"""Verify an image, on its own and against checksums."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from imager.formats.ova_manifest import manifest_problems
from imager.image.inspect.against import expected_digest, is_lock
from imager.image.inspect.inspection import Inspected, inspect_volumes
from imager.image.inspect.model import Finding
from imager.image.inspect.source import (
    OpenedSource,
    is_url,
    may_be_archive,
    open_source,
    stored_content,
)
from imager.image.inspect.verify import Verified, of_cache, verified_bytes, verify_source
from imager.support.errors import InputError, UnsupportedError
from imager.support.partials import scratch_folder
from imager.support.reporter import QUIET, Reporter
from imager.support.workers import worker_pool

if TYPE_CHECKING:
    from imager.app.lock.model import Lock
    from imager.app.verify_lock import LockCheck
    from imager.oci.settings import RegistrySettings


def verify_image(
    source: str,
    against: Path | None = None,
    registries: RegistrySettings | None = None,
    reporter: Reporter = QUIET,
    *,
    key: Path | None = None,
) -> Verified:
    """Verify the image `source`: a path, an https:// URL, or a reference of a registry.

    Tables, metadata of file systems, compressed files, digests of blobs and signatures are checked;
    with `against`, also the whole file, by a file of sha256sum or an in-toto statement, which must
    be signed with the public `key` if there is one; or what is in it, by a lock. What is damaged
    or differs is in the result. Raises InputError if the source cannot be read, `against` does not
    name it or is not signed with `key`, DependencyError if a server fails.
    """
    lock = _lock(against, key)
    path = Path(source)
    is_file = is_url(source) or (path.exists() and not path.is_dir())
    if against is not None and lock is None and not is_file:
        raise InputError(f"{source} is not one file, so it has no checksum in {against}")
    sha256 = expected_digest(against, _name_of(source), key) if against and not lock else ""
    if not is_url(source) and (path.is_dir() or not path.exists() or may_be_archive(path)):
        found = _stored_images(source, registries, reporter)
        if found is not None and lock is not None:
            return _with_check(found, _checked_cache(lock, source))
        if found is not None:
            return _with_checksum(found, path, sha256, reporter) if sha256 else found
    with scratch_folder() as scratch, worker_pool(1, "hash") as pool:
        opened = open_source(source, scratch=scratch, settings=registries, whole=True)
        stored = stored_content(source, opened)
        hashed = pool.submit(verified_bytes(opened.name, stored, sha256, QUIET)) if sha256 else None
        # All of it is read here, so it is not treated as a remote one.
        inspected = inspect_volumes(replace(opened, remote=None), scratch=scratch)
        result = verify_source(opened, inspected, scratch=scratch, reporter=reporter)
        if opened.formats[:1] == ("ova",):
            listed = manifest_problems(stored, name=opened.name)
            found_here = (Finding(opened.name, each) for each in listed)
            result = replace(result, problems=(*found_here, *result.problems))
        if lock is not None:
            result = _with_check(result, _checked_image(lock, opened, inspected))
        problems = hashed.result() if hashed else ()
    return replace(result, sha256=sha256, problems=(*problems, *result.problems))


def _lock(against: Path | None, key: Path | None) -> Lock | None:
    """Return the lock to compare with; None without one."""
    if against is None:
        if key is not None:
            raise InputError(
                "--key has no effect without --against",
                hint="add --against with the bundle of a statement",
            )
        return None
    if not is_lock(against):
        return None
    if key is not None:
        raise InputError(f"{against} is a lock, which has no signature", hint="leave --key out")
    from imager.app.lock.model import read_lock

    return read_lock(against)


def _checked_image(lock: Lock, opened: OpenedSource, inspected: Inspected) -> LockCheck:
    from imager.app.verify_lock import LockedImage, check_image
    from imager.image.inspect.caches import find_image_cache
    from imager.image.inspect.digests import digests_inside
    from imager.image.inspect.notes import Notes

    found = find_image_cache(inspected.volumes, Notes())
    cache = found[1] if found else None
    files = digests_inside(opened, inspected)
    return check_image(lock, LockedImage(inspected.inspection, files, cache))


def _checked_cache(lock: Lock, source: str) -> LockCheck:
    from imager.app.verify_lock import check_cache
    from imager.cache.open import open_cache

    place = Path(source)
    if not place.exists() or not _is_cache(place):
        raise UnsupportedError(
            f"{source} is not compared with a lock",
            hint="compare an image that was built, or an image cache on this machine",
        )
    return check_cache(lock, open_cache(place, fail=lambda _error: None).cache, source=source)


def _with_check(found: Verified, check: LockCheck) -> Verified:
    return replace(
        found,
        problems=(*found.problems, *check.problems),
        unknown=(*found.unknown, *check.unknown),
    )


def _name_of(source: str) -> str:
    return source.partition("?")[0].rpartition("/")[2] if is_url(source) else Path(source).name


def _with_checksum(found: Verified, path: Path, sha256: str, reporter: Reporter) -> Verified:
    problems = verified_bytes(str(path), stored_content(str(path)), sha256, reporter)()
    return replace(found, sha256=sha256, problems=(*problems, *found.problems))


def _stored_images(
    source: str, registries: RegistrySettings | None, reporter: Reporter
) -> Verified | None:
    """Verify an image cache, a layout, an archive or a reference; None for another tar."""
    from imager.app.read_caches import verify_cache
    from imager.cache.location import CacheLocation
    from imager.cache.pull import PullOptions
    from imager.image.inspect.verify_containers import verify_layout, verify_reference
    from imager.oci.location import parse_place
    from imager.oci.settings import RegistrySettings

    settings = registries or RegistrySettings()
    place = parse_place(source)
    if not isinstance(place, Path):
        return verify_reference(place, settings, reporter)
    if not place.exists():
        raise InputError(f"{source} does not exist", hint="check the path")
    if _is_cache(place):
        location = CacheLocation(place)
        return of_cache(source, verify_cache(location, PullOptions(settings), reporter))
    try:
        return verify_layout(place, reporter)
    except InputError:
        if place.is_dir():
            raise
        return None


def _is_cache(place: Path) -> bool:
    """Return whether there is an image cache, which may be damaged."""
    from imager.cache.errors import NotAnImageCacheError
    from imager.cache.open import open_cache
    from imager.image.inspect.verify_containers import is_layout

    try:
        open_cache(place, fail=lambda _error: None)
    except (NotAnImageCacheError, UnsupportedError):
        return False
    except InputError:
        # Other layouts are no caches either.
        return not is_layout(place)
    return True
