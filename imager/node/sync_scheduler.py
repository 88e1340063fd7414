"""Schedules copies from media to the machine's own volume, and records their results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from imager.cache.open import open_cache
from imager.node.mounts import AttachedVolumes
from imager.node.status import CopyStatus
from imager.node.sync import copy_cache, plan_copy
from imager.node.volumes import CacheVolume
from imager.support.errors import ImagerError
from imager.support.reporter import Advance, Reporter
from imager.support.units import format_size
from imager.support.workers import Cancel, Work

# After this time without added or removed devices, all are assumed to be present.
_QUIET_SECONDS = 3.0
_TOLD_SECONDS = 1.0
_NO_MEDIUM = "there is no ISO or stick with an image cache to copy from"
_NO_VOLUME = (
    "there is no partition IMAGECACHE to copy to, and the machine configuration has no "
    "VolumeConfig that creates one"
)


@dataclass(frozen=True, slots=True)
class CopyState:
    """The result of the copies: the fields of NodeStatus that these determine."""

    copy_status: CopyStatus
    copy_reason: str = ""
    copied: int = 0
    to_copy: int = 0


class MediaCopies:
    """Copies each medium once, and retries a failed copy when the devices change.

    Calls `tell` with the state of the copies, also during a copy.
    """

    def __init__(
        self,
        volumes: AttachedVolumes,
        reporter: Reporter,
        *,
        tell: Callable[[CopyState], None],
    ) -> None:
        self._volumes = volumes
        self._reporter = reporter
        self._tell = tell
        self._copied: set[CacheVolume] = set()
        self._failure = ""
        self._progress = (0, 0)
        self._ended = Cancel()

    @property
    def state(self) -> CopyState:
        """The state of the copies."""
        if not self._volumes.media:
            return CopyState(CopyStatus.SKIPPED, _NO_MEDIUM)
        if self._volumes.disk is None and not self._volumes.can_make_disk:
            return CopyState(CopyStatus.SKIPPED, _NO_VOLUME)
        status = CopyStatus.PENDING if self._waiting else CopyStatus.READY
        return CopyState(status, self._failure, *self._progress)

    @property
    def settled(self) -> bool:
        """Whether no further copy will start with the current devices."""
        return self.state.copy_status is not CopyStatus.PENDING or bool(self._failure)

    @property
    def due(self) -> bool:
        """Whether a copy can start now."""
        made = self._volumes.disk is not None or self._volumes.quiet >= _QUIET_SECONDS
        return made and not self.settled

    @property
    def _waiting(self) -> list[CacheVolume]:
        return [each for each in self._volumes.media if each not in self._copied]

    def devices_changed(self) -> None:
        """Forget the last failure and the media that were removed."""
        self._failure = ""
        self._copied &= set(self._volumes.media)

    def run(self) -> None:
        """Copy all new media to the disk, in order of appearance.

        A failed copy does not stop the others.
        """
        self._reporter.step("waiting for the image cache copy")
        failures: list[str] = []
        with self._telling(failures):
            disk = self._volumes.disk or self._volumes.make_disk()
            for medium in self._waiting:
                with self._telling(failures):
                    self._copy(medium, disk)
                    self._copied.add(medium)
        self._failure = "; ".join(failures)

    @contextmanager
    def _telling(self, failures: list[str]) -> Iterator[None]:
        try:
            yield
        except (ImagerError, OSError) as error:
            failures.append(" ".join(str(error).split()))
            self._reporter.warn(f"the image cache was not copied: {error}")

    def end(self) -> None:
        """Cancel a running copy; another run resumes it."""
        self._ended.set()

    def _copy(self, medium: CacheVolume, disk: CacheVolume) -> None:
        plan = plan_copy(open_cache(medium.root).cache, disk.root)
        if plan.is_done:
            self._reporter.step("the image cache was copied before", source=str(medium.root))
            return
        self._reporter.step("copying image cache", source=str(medium.root), target=str(disk.root))
        with (
            self._volumes.writable(disk),
            self._reporter.transfer("copying the image cache", plan.size) as advance,
        ):
            copy_cache(plan, Work(self._telling_progress(advance, plan.size), self._ended))
            self._tell_progress(plan.size, plan.size)
        self._reporter.step("image cache copied", size=format_size(plan.size))

    def _telling_progress(self, advance: Advance, total: int) -> Advance:
        """Return a callback that calls `advance`, and reports the state once a second."""
        done, told = 0, 0.0

        def progress(count: int) -> None:
            nonlocal done, told
            advance(count)
            done += count
            if time.monotonic() - told >= _TOLD_SECONDS:
                told = time.monotonic()
                self._tell_progress(done, total)

        return progress

    def _tell_progress(self, done: int, total: int) -> None:
        self._progress = (done, total)
        self._tell(self.state)
