"""Verify all digests and the completeness of all images of a cache, reporting every problem."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from imager.cache.cache import ImageCache
from imager.cache.cache_source import gather_held
from imager.cache.images import (
    CachedImage,
    cached_images,
    cached_signatures,
    unreferenced_blobs,
)
from imager.cache.opened import OpenedCache
from imager.cache.signature_policy import Judgement, SignaturePolicy, judge
from imager.content.digests import failed_checks
from imager.oci.manifest import Index
from imager.oci.platform import Platform
from imager.support.errors import Fail, ImagerError, InputError, exit_code_of, is_denied
from imager.support.reporter import Reporter
from imager.support.units import count


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a verification; `size` is that of all files of the tree in bytes.

    `problems` make the cache invalid, `notes` do not. `verified` is the number of images whose
    signature a policy requires. `hint` is a remedy for a cache that could not be opened.
    """

    images: int = 0
    signatures: int = 0
    blobs: int = 0
    size: int = 0
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    verified: int = 0
    hint: str = ""


def verify_cache(
    opening: Callable[[Fail], OpenedCache],
    *,
    platforms: Sequence[Platform] = (),
    policy: SignaturePolicy | None = None,
    reporter: Reporter,
) -> Verification:
    """Verify the cache that `opening` opens.

    Its images must be complete for `platforms`, or, if that is empty, for the platforms of the
    cache that their indexes name. With `policy`, its rules must allow every image. Raises an
    ImagerError other than InputError and UnsupportedError if the cache cannot be reached.
    """
    errors: list[ImagerError] = []
    try:
        opened = opening(errors.append)
    except ImagerError as error:
        # Only 2 and 3 concern the user's files; registry failures and full disks do not.
        if exit_code_of(error) not in (2, 3):
            raise
        return Verification(problems=_texts([*errors, error]), hint=error.hint)
    return verify_opened(opened, errors, platforms=platforms, policy=policy, reporter=reporter)


def verify_opened(
    opened: OpenedCache,
    errors: Sequence[ImagerError] = (),
    *,
    platforms: Sequence[Platform] = (),
    policy: SignaturePolicy | None = None,
    reporter: Reporter,
) -> Verification:
    """Verify a cache that is open; `errors` are those of opening it. Raises as `verify_cache`."""
    cache = opened.cache
    errors = (*errors, *_failed_digests(cache, reporter))
    # The contents of unreadable files are unknown.
    if denied := next(filter(is_denied, errors), None):
        raise denied
    images, signatures = cached_images(cache), cached_signatures(cache)
    whole = (*images, *signatures)
    lacking = [problem for each in signatures for problem in _lacking_manifests(each)]
    lacking += [problem for each in whole for problem in _incomplete(cache, each)]
    notes = tuple(_notes(opened, whole))
    if platforms:
        lacking += [problem for image in images for problem in _not_for(image, platforms)]
        lacking += _hidden(opened, platforms)
    else:
        lacking += [problem for image in images for problem in _half(image, cache.index_platforms)]
        notes += tuple(_hidden(opened, cache.platforms))
    judgement = _judgement(cache, whole, policy)
    problems = (*_texts(errors), *dict.fromkeys((*lacking, *judgement.problems)))
    counts = len(images), len(signatures), len(cache.blobs), cache.size
    notes += judgement.notes
    return Verification(*counts, problems, notes, verified=len(judgement.verified))


def _judgement(
    cache: ImageCache, images: Sequence[CachedImage], policy: SignaturePolicy | None
) -> Judgement:
    if policy is None:
        return Judgement()
    try:
        return judge(gather_held(cache, images), cache.images, policy)
    except InputError as error:  # manifests that contradict each other
        return Judgement(refused=tuple((image, error.message) for image in cache.images))


def _texts(errors: Sequence[ImagerError]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(error.message for error in errors))


def _failed_digests(cache: ImageCache, reporter: Reporter) -> Sequence[ImagerError]:
    checks = (*cache.containers, *cache.checks)
    total = sum(check.content.size for check in checks)
    with reporter.transfer("verifying", total) as advance:
        return failed_checks(checks, jobs=os.cpu_count() or 1, progress=advance)


def _lacking_manifests(signature: CachedImage) -> Iterator[str]:
    """Yield the manifests missing from a signature index, which must be cached completely."""
    if isinstance(signature.root.document, Index):
        there = {part.manifest.digest for part in signature.parts}
        for entry in signature.root.document.manifests:
            if entry.digest not in there:
                yield f"{signature.reference} lacks manifest {entry.digest}"


def _incomplete(cache: ImageCache, image: CachedImage) -> Iterator[str]:
    for part in image.parts:
        yield from cache.lacks(image.reference, part.manifest)


def _half(image: CachedImage, platforms: Sequence[Platform]) -> Iterator[str]:
    """Yield which of `platforms` the image's index names but the cache lacks."""
    lacking = [platform for platform in platforms if image.missing(platform)]
    yield from (f"{image.reference} has no manifest for {platform}" for platform in lacking)
    empty = isinstance(image.root.document, Index) and not image.root.document.manifests
    if not image.parts and not lacking and not empty:
        yield f"{image.reference} has no manifest for any platform"


def _not_for(image: CachedImage, platforms: Sequence[Platform]) -> Iterator[str]:
    """Yield which of `platforms` the cached image lacks, even if its index does not name them."""
    if isinstance(image.root.document, Index):
        # Artifacts have no platform.
        for platform in () if image.parts and not image.platforms else platforms:
            if platform not in image.platforms:
                yield f"{image.reference} has no manifest for {platform}"
    elif image.platforms and not set(image.platforms) & set(platforms):
        yield f"{image.reference} is only for {image.platforms[0]}"


def _hidden(opened: OpenedCache, platforms: Sequence[Platform]) -> Iterator[str]:
    """Yield the platforms without an entry in the cache's index, by which readers select."""
    if opened.entries is None:
        return
    for platform in platforms:
        if platform not in opened.entries:
            yield f"the index has no entry for {platform}: such machines find no cache in it"


def _notes(opened: OpenedCache, images: Sequence[CachedImage]) -> Iterator[str]:
    for digest in unreferenced_blobs(opened.cache, images):
        yield f"no image uses blob {digest}"
    for path in opened.unnamed:
        yield f"{path} is not referenced"
    if opened.lacking:
        yield (
            f"missing {count(len(opened.lacking), 'folder')} that Talos needs, such as "
            f"{opened.lacking[0]}: `imager images cache-prune` adds them"
        )
    if opened.cache.ignored:
        yield f"ignored {count(opened.cache.ignored, 'file')} not in the format of an image cache"
