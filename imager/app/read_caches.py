"""Describe, verify and compare image caches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from imager.cache import verify
from imager.cache.location import CacheLocation
from imager.cache.pull import DEFAULT_PULL, PullOptions
from imager.oci.platform import Platform
from imager.support.partials import scratch_folder
from imager.support.reporter import QUIET, Reporter

if TYPE_CHECKING:
    from imager.app.verification_policy import PolicyFiles
    from imager.cache.diff import CacheDiff
    from imager.cache.info import CacheInfo


def describe_cache(
    location: CacheLocation, options: PullOptions = DEFAULT_PULL, reporter: Reporter = QUIET
) -> CacheInfo:
    """Return the images of a cache, the size of shared blobs, and the volume sizes it needs.

    Raises InputError for a damaged cache, DependencyError if a registry fails.
    """
    from imager.cache.info import cache_info

    with options.puller(reporter) as puller, scratch_folder() as scratch:
        return cache_info(location.open(puller), scratch=scratch)


def verify_cache(
    location: CacheLocation,
    options: PullOptions = DEFAULT_PULL,
    reporter: Reporter = QUIET,
    *,
    platforms: Sequence[Platform] = (),
    policy: PolicyFiles | None = None,
) -> verify.Verification:
    """Check all digests of a cache, and that its images are complete for `platforms`.

    `platforms` defaults to those of the cache. With `policy`, its rules must allow every image, by
    the signatures in the cache. Problems are in the result. Raises an ImagerError if the cache
    cannot be reached or read, and as `PolicyFiles.read`.
    """
    rules = policy.read(reporter) if policy else None
    with options.puller(reporter) as puller:
        return verify.verify_cache(
            lambda fail: location.open(puller, fail=fail),
            platforms=platforms,
            policy=rules,
            reporter=reporter,
        )


def compare_caches(
    old: CacheLocation,
    new: CacheLocation,
    options: PullOptions = DEFAULT_PULL,
    reporter: Reporter = QUIET,
) -> CacheDiff:
    """Return the differences between two caches, regardless of their packing.

    Raises as `describe_cache`.
    """
    from imager.cache.diff import diff_caches

    with options.puller(reporter) as puller:
        return diff_caches(*(location.open(puller).cache for location in (old, new)))
