"""Opens blobs in place, and checks the digest of each before sending its first byte.

The result is cached; a file that has changed since is checked again.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from imager.content.extents import Content, Extent, FileRange
from imager.content.reading import hash_content
from imager.oci.digest import Digest
from imager.oci.plainfile import is_held
from imager.support.errors import ImagerError, InputError

# Do not follow a link that has replaced the file, nor wait for the writer of a pipe.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


# Values that change when a file is written to or replaced.
Identity = tuple[int, ...]


def identity_of(status: os.stat_result) -> Identity:
    """Return the identity of the file with the given status."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@dataclass(frozen=True, slots=True)
class OpenBlob:
    """A blob's content, and the open files of its extents."""

    content: Content
    files: dict[Path, BinaryIO]

    @property
    def identity(self) -> tuple[Identity, ...]:
        """The identities of the files."""
        return tuple(identity_of(os.fstat(file.fileno())) for file in self.files.values())


@dataclass(frozen=True, slots=True)
class _Verdict:
    identity: tuple[Identity, ...]
    sound: bool


class Blobs:
    """Opens blobs, and remembers which have passed the check."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._verdicts: dict[tuple[Digest, Content], _Verdict] = {}
        self._running: dict[tuple[Digest, Content], asyncio.Task[_Verdict]] = {}

    async def open(
        self, stack: ExitStack, digest: Digest, places: Iterable[Content]
    ) -> OpenBlob | InputError:
        """Open a blob at the first of its `places` with the right bytes, else return the error.

        Files stay open until `stack` is closed.
        """
        problem = InputError(f"no cache has blob {digest}")
        for content in places:
            attempt = stack.enter_context(ExitStack())
            try:
                blob = attempt.enter_context(_opened(content))
                if await self._is_sound(digest, blob):
                    return blob
                problem = InputError(f"blob {digest} is damaged in {_name(content)}")
            except OSError as error:
                problem = InputError(
                    f"blob {digest} cannot be read from {_name(content)}: {error.strerror}"
                )
            attempt.close()
        return problem

    async def _is_sound(self, digest: Digest, blob: OpenBlob) -> bool:
        key = (digest, blob.content)
        verdict = self._verdicts.get(key)
        if verdict is None or verdict.identity != blob.identity:
            task = self._running.get(key)
            if task is None:
                task = asyncio.create_task(self._check(digest, blob.content))
                self._running[key] = task
                task.add_done_callback(lambda _: self._running.pop(key, None))
            # Other clients may wait for the check when this one disconnects.
            verdict = await asyncio.shield(task)
        return verdict.sound and verdict.identity == blob.identity

    async def _check(self, digest: Digest, content: Content) -> _Verdict:
        loop = asyncio.get_running_loop()
        verdict = await loop.run_in_executor(self._pool, _judge, digest, content)
        self._verdicts[digest, content] = verdict
        return verdict

    def forget_all_but(self, kept: Iterable[tuple[Digest, Content]]) -> None:
        """Forget the cached results of all blobs except those in `kept`."""
        wanted = set(kept)
        for key in [key for key in self._verdicts if key not in wanted]:
            del self._verdicts[key]


def _judge(digest: Digest, content: Content) -> _Verdict:
    with _opened(content) as blob:
        before = blob.identity
    try:
        found = hash_content(content)
        with _opened(content) as blob:
            unchanged = blob.identity == before
    except (OSError, ImagerError):  # being removed, or truncated
        return _Verdict(before, sound=False)
    return _Verdict(before, sound=unchanged and found.hex() == digest.hex)


@contextmanager
def _opened(content: Content) -> Iterator[OpenBlob]:
    with ExitStack() as stack:
        files: dict[Path, BinaryIO] = {}
        for extent in content.extents:
            path, _ = file_place(extent)
            if path not in files:
                files[path] = stack.enter_context(_open_file(path))
        yield OpenBlob(content, files)


def _open_file(path: Path) -> BinaryIO:
    # The path of a file held open is a link in /proc, which no other user can replace.
    flags = _FLAGS & ~os.O_NOFOLLOW if is_held(path) else _FLAGS
    descriptor = os.open(path, flags)
    file = os.fdopen(descriptor, "rb", buffering=0)
    kind = os.fstat(descriptor).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISBLK(kind)):
        file.close()
        raise OSError(errno.EINVAL, "not a file", str(path))
    return file


def file_place(extent: Extent) -> tuple[Path, int]:
    """Return the file of an extent of a served blob, and the offset in it in bytes."""
    if not isinstance(extent.source, FileRange):
        raise TypeError(f"{type(extent.source).__name__} is not served")
    return extent.source.path, extent.source.offset


def _name(content: Content) -> str:
    return ", ".join(dict.fromkeys(str(file_place(extent)[0]) for extent in content.extents))
