"""Manage the staging folder next to the target of a new cache, and transfer blobs into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from imager.cache.cache import blob_check
from imager.cache.contents import Gathered
from imager.cache.journal import open_journal, recorded
from imager.cache.paths import blob_path
from imager.cache.plan import CreationPlan
from imager.cache.resume import keep_for_resume
from imager.cache.transfer import BlobPlace, deliver_directly, deliver_through_store, fetch_blobs
from imager.content.digests import Check, checking
from imager.content.writeback import Flusher
from imager.support.atomic import atomic_folder
from imager.support.folders import check_free_space, used_space
from imager.support.partials import Resume, keyed_partial
from imager.support.reporter import Advance, Reporter

_JOURNAL = "journal"


def check_space(plan: CreationPlan) -> None:
    """Raise HostError if there is too little disk space for the plan."""
    there = 0
    if plan.options.store is None:
        there = used_space(keyed_partial(plan.target, plan.key))
    check_free_space(plan.target.parent, plan.packing.needed - there)


@dataclass(frozen=True, slots=True)
class Construction:
    """A plan that is being written to its target.

    With a blob store, remote blobs are stored in it and reused from it.
    """

    plan: CreationPlan
    reporter: Reporter

    def folder(self) -> AbstractContextManager[Path]:
        """Open the folder that becomes the target, with blobs from an earlier run of the plan.

        For an archive, the file in it with the target's name becomes the target. Raises HostError
        if there is too little disk space.
        """
        check_space(self.plan)
        options = self.plan.options
        resume = None if options.store is not None else Resume(self.plan.key, self._keep)
        one_file = options.archive is not None
        return atomic_folder(self.plan.target, resume=resume, one_file=one_file)

    def _keep(self, folder: Path, error: BaseException) -> bool:
        return keep_for_resume(folder, recorded(folder / _JOURNAL), error, self.reporter)

    @contextmanager
    def transferring(
        self,
        folder: Path,
        places: Mapping[str, tuple[Path, int]],
        *,
        local_size: int,
        flusher: Flusher,
    ) -> Iterator[Advance]:
        """Check local blobs while the block writes them, then fetch the remote ones to `places`.

        `places` maps paths in the tree to a file and an offset in it. Yields a progress callback
        for the `local_size` bytes that the block writes. Raises as `fetch_blobs`.
        """
        remote = self.plan.remote
        total = local_size + sum(source.blob.size for source in remote.values())
        with self.reporter.transfer("caching", total) as advance:
            with checking(_local_checks(self.plan.gathered)) as raise_failed:

                def progress(count: int) -> None:
                    raise_failed()
                    advance(count)

                yield progress
            wanted = [
                BlobPlace(source, *places[blob_path(digest)]) for digest, source in remote.items()
            ]
            self._fetch(wanted, folder, flusher, advance)

    def _fetch(
        self, wanted: Sequence[BlobPlace], folder: Path, flusher: Flusher, progress: Advance
    ) -> None:
        options = self.plan.options
        if options.store is not None:
            size = sum(source.blob.size for source in self.plan.missing.values())
            check_free_space(options.store.folder, size)
            deliver = partial(deliver_through_store, options.store)
            fetch_blobs(wanted, deliver=deliver, jobs=options.jobs, progress=progress)
            return
        with open_journal(folder / _JOURNAL, self.plan.remote) as journal:
            direct = partial(deliver_directly, journal, flusher)
            fetch_blobs(wanted, deliver=direct, jobs=options.jobs, progress=progress)


def forget_journal(folder: Path) -> None:
    """Remove the journal once all blobs are complete, since their offsets will change."""
    (folder / _JOURNAL).unlink(missing_ok=True)


def kept_from_earlier(plan: CreationPlan) -> int:
    """Return how many bytes of remote blobs an earlier run of the plan has left for resuming."""
    if plan.options.store is not None:
        return 0
    return recorded(keyed_partial(plan.target, plan.key) / _JOURNAL)


def _local_checks(gathered: Gathered) -> list[Check]:
    """Return the checks of the local blobs."""
    checks: list[Check] = []
    for digest, source in sorted(gathered.blobs.items()):
        content = source.source.blob_content(source.blob)
        if content is not None:
            checks.append(blob_check(digest, content))
    return checks
