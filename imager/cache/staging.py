"""A cache while it is made: its folder beside the target, and how its blobs come into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imager.cache.cache import blob_checks
from imager.cache.contents import Gathered
from imager.cache.journal import open_journal, recorded
from imager.cache.paths import blob_path
from imager.cache.plan import CreationPlan
from imager.cache.transfer import BlobPlace, DirectDelivery, LayerCacheDelivery, fetch_blobs
from imager.content.digests import Check, checking
from imager.content.writeback import Flusher
from imager.support.atomic import atomic_folder
from imager.support.errors import HostError, OutputError
from imager.support.folders import check_free_space, used_space
from imager.support.partials import Resume, keyed_partial
from imager.support.reporter import Advance, Reporter
from imager.support.units import MIB, format_size

_JOURNAL = "journal"
# Less is quickly fetched again, and needs no folder beside the target.
_WORTH_KEEPING = MIB


def check_space(plan: CreationPlan) -> None:
    """Raise HostError when there is too little space to make what was planned."""
    there = 0
    if plan.options.layer_cache is None:
        there = used_space(keyed_partial(plan.target, plan.key))
    check_free_space(plan.target.parent, plan.packing.needed - there)


@dataclass(frozen=True, slots=True)
class Construction:
    """A plan on its way to its target.

    With a layer cache, remote blobs are kept in it, and taken from it when they are there.
    """

    plan: CreationPlan
    reporter: Reporter

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Yield the folder that becomes the target, with what came in an earlier run of the plan.

        Of an archive it is the file in it with the target's name. Raises HostError when there is
        too little space.
        """
        check_space(self.plan)
        options = self.plan.options
        resume = None if options.layer_cache is not None else Resume(self.plan.key, self._keep)
        one_file = options.archive is not None
        with atomic_folder(self.plan.target, resume=resume, one_file=one_file) as folder:
            yield folder

    def _keep(self, folder: Path, error: BaseException) -> bool:
        """Keep what has arrived, unless it is less than a MiB or there is no room for it."""
        come = recorded(folder / _JOURNAL)
        if come < _WORTH_KEEPING or isinstance(error, HostError | OutputError):
            return False
        self.reporter.warn(
            f"{format_size(come)} are kept in {folder}: run the same command again to resume"
        )
        return True

    @contextmanager
    def transferring(
        self,
        folder: Path,
        places: Mapping[str, tuple[Path, int]],
        *,
        local_size: int,
        flusher: Flusher,
    ) -> Iterator[Advance]:
        """Check local blobs while the block writes them; then bring the remote ones to `places`.

        `places` has, by the path in the tree, a file and an offset in it. `local_size` is what the
        block writes, in bytes; yields a progress for it. Raises as `fetch_blobs`.
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
        if options.layer_cache is not None:
            size = sum(source.blob.size for source in self.plan.missing.values())
            check_free_space(options.layer_cache.folder, size)
            deliver = LayerCacheDelivery(options.layer_cache)
            fetch_blobs(wanted, deliver=deliver, jobs=options.jobs, progress=progress)
            return
        with open_journal(folder / _JOURNAL, self.plan.remote) as journal:
            direct = DirectDelivery(journal, flusher)
            fetch_blobs(wanted, deliver=direct, jobs=options.jobs, progress=progress)


def forget_journal(folder: Path) -> None:
    """Remove the journal: all blobs have arrived, and their places will change."""
    (folder / _JOURNAL).unlink(missing_ok=True)


def kept_from_earlier(plan: CreationPlan) -> int:
    """Return the bytes of remote blobs that an earlier run of the plan left beside its target."""
    if plan.options.layer_cache is not None:
        return 0
    return recorded(keyed_partial(plan.target, plan.key) / _JOURNAL)


def _local_checks(gathered: Gathered) -> list[Check]:
    """Return the checks of the blobs that are on this machine."""
    contents = (
        (digest, source.source.blob_content(source.blob))
        for digest, source in sorted(gathered.blobs.items())
    )
    return [
        check
        for digest, content in contents
        if content is not None
        for check in blob_checks(digest, content)
    ]
