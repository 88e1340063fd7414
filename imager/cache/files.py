"""Fetch the files of an artifact to a folder: checked, resumed, and all at once.

    .fetch.KEY.partial/      the blobs, while they are fetched; a failed run leaves them

When every blob is complete, each is renamed to its file's name.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imager.cache.blobstore import BlobStore
from imager.cache.contents import BlobSource
from imager.cache.resume import OF_ONE_BLOB, keep_for_resume
from imager.content.copier import write_errors
from imager.content.extents import Content
from imager.content.reading import hash_content
from imager.oci.artifact import PulledFile
from imager.oci.manifest import Descriptor
from imager.oci.source import ImageSource
from imager.support.atomic import put_in_place
from imager.support.errors import AlreadyExistsError, InputError
from imager.support.folders import check_free_space, created_folder, used_space
from imager.support.partials import Resume, resumed_folder
from imager.support.reporter import Reporter
from imager.support.workers import Work

_PARTIAL = "fetch"
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

    `key` identifies the artifact: a later run with the same key resumes. Existing files with other
    bytes are only replaced with `force`.
    """

    image: ImageSource
    files: Sequence[PulledFile]
    folder: Path
    key: str
    force: bool = False
    jobs: int = 4

    def run(self, label: str, reporter: Reporter) -> tuple[FetchedFile, ...]:
        """Fetch the files, several in parallel; `label` names the artifact in progress output.

        Raises AlreadyExistsError for an existing file, HostError if the disk is full, and the
        errors of ImageSource.fetch_blob. No file appears unless all are complete.
        """
        with reporter.waiting(f"checking {self.folder}"):
            kept = {each.path: self._is_there(each) for each in self.files}
        missing = [each for each in self.files if not kept[each.path]]
        with created_folder(self.folder):
            if missing:
                self._fetch(missing, label, reporter)
        return tuple(
            FetchedFile(self.folder / each.path, each.layer, kept[each.path]) for each in self.files
        )

    def _fetch(self, missing: Sequence[PulledFile], label: str, reporter: Reporter) -> None:
        def keep(folder: Path, error: BaseException) -> bool:
            return keep_for_resume(folder, used_space(folder), error, reporter)

        resume = Resume(self.key[:_KEY], keep)
        with resumed_folder(self.folder / _PARTIAL, resume) as partial:
            store = BlobStore.open(partial)
            blobs = {each.layer.digest: each.layer for each in missing}.values()
            check_free_space(partial, sum(map(store.to_come, blobs)))
            with reporter.transfer(
                f"fetching {label}", sum(each.size for each in blobs)
            ) as advance:
                work = Work(advance)
                work.run(
                    lambda blob: store.get(BlobSource(blob, self.image), work),
                    blobs,
                    jobs=self.jobs,
                    what="files",
                    lasting=OF_ONE_BLOB,
                )
            with write_errors():
                self._place(missing, store)

    def _place(self, missing: Sequence[PulledFile], store: BlobStore) -> None:
        """Rename each blob to the last of its files, and copy it to the others."""
        last = {each.layer.digest: each.path for each in missing}
        for each in missing:
            blob = ready = store.path(each.layer)
            if last[each.layer.digest] != each.path:
                ready = Path(shutil.copyfile(blob, store.folder / each.path.name))
            # The time of a blob in a store is a mark of its own.
            os.utime(ready)
            put_in_place(ready, self.folder / each.path, clobber=self.force)

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
        if status.st_size == file.layer.size:
            sha256 = hash_content(Content.of_file(path)).hex()
            if sha256 == file.layer.digest.hex:
                return True
        if not self.force:
            raise AlreadyExistsError(
                f"{path} exists already, with other bytes",
                hint="replace it with --force, or choose another folder with --output",
            )
        return False
