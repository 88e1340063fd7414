"""Fetch the files of an artifact to a folder: checked, resumed, and all at once.

    .NAME.KEY.partial/.blobs/      the blobs, while they are fetched; a failed run leaves them

When every blob is complete, each is renamed to its file's name.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from imager.cache.blobstore import BlobStore
from imager.cache.contents import BlobSource
from imager.cache.resume import OF_ONE_BLOB, keep_for_resume
from imager.content.copier import write_errors
from imager.oci.artifact import PulledFile
from imager.oci.digest import Digest
from imager.oci.manifest import Descriptor
from imager.oci.source import ImageSource
from imager.support.atomic import atomic_folder, put_in_place
from imager.support.errors import AlreadyExistsError, InputError
from imager.support.folders import check_free_space, created_folder, ensure_folder, used_space
from imager.support.partials import Resume, resumed_folder
from imager.support.reporter import Reporter
from imager.support.workers import Work

_PARTIAL = "fetch"
_BLOBS = ".blobs"
_COPY = "copy"
# Hexadecimal digits that tell the artifacts of one folder apart.
_KEY = 16


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file of an artifact at `path`; `kept` if it was there before, with the same bytes."""

    path: Path
    layer: Descriptor
    kept: bool


@dataclass(frozen=True, slots=True)
class FileFetch:
    """The files of an artifact, and the folder for them.

    `key` identifies the artifact: a later run with the same key resumes. `label` is for progress
    output. Existing files with other bytes are only replaced with `force`.
    """

    image: ImageSource
    files: Sequence[PulledFile]
    folder: Path
    key: str
    label: str
    force: bool = False
    jobs: int = 4

    def add(self, reporter: Reporter) -> tuple[FetchedFile, ...]:
        """Fetch the files to the folder, several in parallel.

        Raises AlreadyExistsError for an existing file, HostError if the disk is full, and the
        errors of ImageSource.fetch_blob. No file appears unless all are complete.
        """
        with reporter.waiting(f"checking {self.folder}"):
            kept = {each.path: self._is_there(each) for each in self.files}
        missing = [each for each in self.files if not kept[each.path]]
        with created_folder(self.folder):
            if missing:
                self._add(missing, reporter)
        return tuple(
            FetchedFile(self.folder / each.path, each.layer, kept[each.path]) for each in self.files
        )

    def replace(self, reporter: Reporter) -> None:
        """Replace the contents of the folder with the files in one atomic step; raises as `add`."""
        ensure_folder(self.folder.parent)
        with atomic_folder(self.folder, resume=self._resume(reporter)) as made:
            store = BlobStore.open(made / _BLOBS)
            for path, ready in self._ready(self.files, store, reporter):
                (made / path).parent.mkdir(parents=True, exist_ok=True)
                ready.replace(made / path)
            shutil.rmtree(store.folder)

    def _add(self, missing: Sequence[PulledFile], reporter: Reporter) -> None:
        with resumed_folder(self.folder / _PARTIAL, self._resume(reporter)) as partial:
            ready = self._ready(missing, BlobStore.open(partial / _BLOBS), reporter)
            for path, file in ready:
                put_in_place(file, self.folder / path, clobber=self.force)

    def _resume(self, reporter: Reporter) -> Resume:
        def keep(folder: Path, error: BaseException) -> bool:
            return keep_for_resume(folder, used_space(folder), error, reporter)

        return Resume(self.key[:_KEY], keep)

    def _ready(
        self, files: Sequence[PulledFile], store: BlobStore, reporter: Reporter
    ) -> Iterator[tuple[PurePosixPath, Path]]:
        """Fetch the blobs of `files` to `store`; yield each path with a file to rename to it.

        A blob is the last of its files itself, and is copied for the others.
        """
        last = {each.layer.digest: each for each in files}
        blobs = [each.layer for each in last.values()]
        copies = [each.layer.size for each in files if last[each.layer.digest] != each]
        check_free_space(store.folder, sum(map(store.to_come, blobs)) + sum(copies))
        with reporter.transfer(self.label, sum(blob.size for blob in blobs)) as advance:
            work = Work(advance)
            work.run(
                lambda blob: store.get(BlobSource(blob, self.image), work),
                blobs,
                jobs=self.jobs,
                what="files",
                lasting=OF_ONE_BLOB,
            )
        for each in files:
            with write_errors():
                ready = store.path(each.layer)
                if last[each.layer.digest] != each:
                    ready = Path(shutil.copyfile(ready, store.folder / _COPY))
                # The time of a blob in a store is a mark of its own.
                os.utime(ready)
            yield each.path, ready

    def _is_there(self, file: PulledFile) -> bool:
        """Return whether the file exists with its bytes; raises InputError for other ones."""
        path = self.folder / file.path
        try:
            status = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        if not stat.S_ISREG(status.st_mode):
            raise InputError(
                f"{path} exists, and is not a regular file",
                hint="remove it, or choose another folder with --output",
            )
        blob = file.layer
        if status.st_size == blob.size and Digest.of_file(path) == blob.digest:
            return True
        if not self.force:
            raise AlreadyExistsError(
                f"{path} exists already, with other bytes",
                hint="replace it with --force, or choose another folder with --output",
            )
        return False
