from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from imager.support import folders
from imager.support.atomic import atomic_file, atomic_folder
from imager.support.errors import HostError, InputError, exit_code_of
from imager.support.folders import check_free_space, check_output_folder, created_folder, free_space
from imager.support.partials import Resume, partial_folder, scratch_folder, sweep_partials
from tests.lib.tools.support import names_in


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "out.iso"
    with atomic_file(target) as descriptor:
        os.write(descriptor, b"whole")
        assert not target.exists()
        (partial,) = names_in(tmp_path)
        assert partial.startswith(".out.iso.")
        assert partial.endswith(".partial")
    assert target.read_bytes() == b"whole"
    assert names_in(tmp_path) == ["out.iso"]


def test_a_file_is_flushed_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    target = tmp_path / "out"
    monkeypatch.setattr(os, "fsync", lambda _: seen.append(target.exists()))
    with atomic_file(target) as descriptor:
        os.write(descriptor, b"whole")
    assert seen == [False, True]  # the data, then the folder


def test_a_folder_is_flushed_with_all_in_it_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []
    target = tmp_path / "out"

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        seen.append((path.name, target.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_folder(target) as folder:
        (folder / "inner").mkdir()
        for name in ("one", "inner/two", "inner/three"):
            (folder / name).write_text(name)
    *before, last = seen
    made = ("one", "two", "three", "inner", folder.name)
    assert sorted(before) == sorted((name, False) for name in made)
    assert last == (tmp_path.name, True)


def test_a_folder_whose_files_cannot_be_flushed_does_not_appear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with (
        pytest.raises(OSError, match="Input/output error"),
        atomic_folder(tmp_path / "out") as folder,
    ):
        (folder / "one").write_text("one")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failed_block_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), atomic_file(tmp_path / "out") as descriptor:
        os.write(descriptor, b"half")
        raise error
    assert names_in(tmp_path) == []


def test_a_failed_block_keeps_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"old")
    with pytest.raises(ValueError, match="no"), atomic_file(tmp_path / "out"):
        raise ValueError("no")
    assert (tmp_path / "out").read_bytes() == b"old"
    assert names_in(tmp_path) == ["out"]


def test_an_existing_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"old and longer")
    with atomic_file(tmp_path / "out") as descriptor:
        os.write(descriptor, b"new")
        assert (tmp_path / "out").read_bytes() == b"old and longer"
    assert (tmp_path / "out").read_bytes() == b"new"


def test_the_file_gets_the_users_ordinary_mode(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with atomic_file(tmp_path / "out"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o644


def test_stale_partials_are_swept_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".out.0badcafe.partial").write_bytes(b"half")
    (tmp_path / ".out.12345678.partial").mkdir()
    (tmp_path / ".out.12345678.partial" / "inner").write_bytes(b"half")
    others = [".other.0badcafe.partial", "out.partial", ".out.txt"]
    for name in others:
        (tmp_path / name).touch()
    with atomic_file(tmp_path / "out"):
        pass
    assert names_in(tmp_path) == sorted([*others, "out"])


def test_a_name_with_wildcards_sweeps_its_own_alone(tmp_path: Path) -> None:
    (tmp_path / ".abc.0badcafe.partial").touch()
    (tmp_path / ".[a]*?.0badcafe.partial").touch()
    sweep_partials(tmp_path / "[a]*?")
    sweep_partials(tmp_path / "*")
    assert names_in(tmp_path) == [".abc.0badcafe.partial"]


def test_a_partial_that_is_held_is_kept(tmp_path: Path) -> None:
    held = tmp_path / ".out.0badcafe.partial"
    with held.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with atomic_file(tmp_path / "out"):
            pass
        assert held.exists()
    sweep_partials(tmp_path / "out")
    assert not held.exists()


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "out") as first:
        with atomic_file(tmp_path / "out") as second:
            os.write(second, b"second")
        os.write(first, b"first")
    assert (tmp_path / "out").read_bytes() == b"first"
    assert names_in(tmp_path) == ["out"]


def test_a_link_in_a_partials_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / ".out.0badcafe.partial").symlink_to(tmp_path / "precious")
    sweep_partials(tmp_path / "out")
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_a_killed_writer_leaves_nothing_at_the_path(tmp_path: Path) -> None:
    program = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from imager.support.atomic import atomic_file\n"
        "with atomic_file(Path(sys.argv[1])) as descriptor:\n"
        "    os.write(descriptor, b'half')\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    target = tmp_path / "out"
    argv = [sys.executable, "-c", program, str(target)]
    root = Path(folders.__file__).parents[1]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=root) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        (partial,) = names_in(tmp_path)
        sweep_partials(target)
        assert names_in(tmp_path) == [partial]
        writer.send_signal(signal.SIGKILL)
    assert names_in(tmp_path) == [partial]
    with atomic_file(target) as descriptor:
        os.write(descriptor, b"whole")
    assert names_in(tmp_path) == ["out"]
    assert target.read_bytes() == b"whole"


def test_a_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "cache") as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_bytes(b"whole")
        assert not (tmp_path / "cache").exists()
    assert (tmp_path / "cache" / "inner" / "file").read_bytes() == b"whole"
    assert names_in(tmp_path) == ["cache"]


@pytest.mark.parametrize("number", [0, 22, 38])
def test_an_existing_folder_is_exchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    if number:

        class _Without:
            def renameat2(self, *_: object) -> int:
                ctypes.set_errno(number)
                return -1

        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: _Without())
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "old").touch()
    with atomic_folder(tmp_path / "cache") as folder:
        (folder / "new").touch()
        assert names_in(tmp_path / "cache") == ["old"]
    assert names_in(tmp_path / "cache") == ["new"]
    assert names_in(tmp_path) == ["cache"]


def test_a_failed_folder_leaves_nothing_and_keeps_the_old(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "old").touch()
    with pytest.raises(ValueError, match="no"), atomic_folder(tmp_path / "cache") as folder:
        (folder / "new").touch()
        raise ValueError("no")
    assert names_in(tmp_path / "cache") == ["old"]
    assert names_in(tmp_path) == ["cache"]


def test_a_partial_folder_is_held_and_goes_away(tmp_path: Path) -> None:
    with partial_folder(tmp_path / "cache") as folder:
        (folder / "file").touch()
        sweep_partials(tmp_path / "cache")
        assert (folder / "file").exists()
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("make", [atomic_file, atomic_folder])
def test_a_folder_that_is_not_there(
    tmp_path: Path, make: Callable[[Path], AbstractContextManager[object]]
) -> None:
    expected = pytest.raises(HostError, match=r"cannot create .*gone/out: No such file")
    with expected, make(tmp_path / "gone" / "out"):
        pass


def test_scratch_is_private_and_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with scratch_folder() as folder:
        assert folder.parent == tmp_path
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "file").touch()
    assert names_in(tmp_path) == []


def test_a_scratch_folder_of_a_killed_run_is_removed_by_the_next(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    code = (
        "from imager.support.partials import scratch_folder\n"
        "with scratch_folder() as folder:\n"
        "    (folder / 'volume').write_text('x')\n"
        "    print(folder.name, flush=True)\n"
        "    input()\n"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    killed, alive = runs
    made = [run.stdout.readline().strip() for run in runs if run.stdout]
    try:
        killed.kill()
        killed.wait()
        assert names_in(tmp_path) == sorted(made)
        subprocess.run(
            [sys.executable, "-c", code], env=environment, input="\n", text=True, check=True
        )
        assert names_in(tmp_path) == made[1:]
    finally:
        alive.communicate("\n")
        killed.communicate()
    assert names_in(tmp_path) == []


def test_output_folders_that_will_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_output_folder(tmp_path)
    with pytest.raises(InputError, match="does not exist") as caught:
        check_output_folder(tmp_path / "gone")
    assert caught.value.hint == f"mkdir -p {tmp_path}/gone"
    with pytest.raises(InputError) as caught:
        check_output_folder(tmp_path / "it's gone")
    assert shlex.split(caught.value.hint) == ["mkdir", "-p", f"{tmp_path}/it's gone"]
    for place in (Path("/dev/sdz9"), Path("/dev"), Path("/dev/disk/by-id/x")):
        with pytest.raises(InputError, match="is for devices") as caught:
            check_output_folder(place)
        assert caught.value.hint.endswith("write the output to the device with dd")
    check_output_folder(Path("/dev/shm"))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is not a folder"):
        check_output_folder(tmp_path / "file")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(HostError, match="is not writable for user") as refused:
        check_output_folder(tmp_path)
    assert "--user" in refused.value.hint


def test_free_space_is_asked_for_beforehand(tmp_path: Path) -> None:
    free = free_space(tmp_path)
    assert free > 0
    check_free_space(tmp_path, 1)
    with pytest.raises(HostError, match=r"free, but 1024 PiB are needed") as caught:
        check_free_space(tmp_path, 1 << 60)
    assert "another folder" in caught.value.hint


def test_missing_folders_are_made(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with created_folder(folder):
        (folder / "file").write_text("x")
    assert (folder / "file").exists()
    with created_folder(tmp_path):
        pass


def test_those_that_were_made_go_when_the_block_fails(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(KeyError), created_folder(tmp_path / "there" / "a" / "b"):
        raise KeyError
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]
    with pytest.raises(KeyError), created_folder(tmp_path / "there" / "a" / "b") as _:
        (tmp_path / "there" / "a" / "file").write_text("x")
        raise KeyError
    assert list((tmp_path / "there").rglob("*")) == [
        tmp_path / "there" / "a",
        tmp_path / "there" / "a" / "file",
    ]


def test_a_folder_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in ("file", "file/below/it"):
        with (
            pytest.raises(InputError, match="file is not a folder"),
            created_folder(tmp_path / place),
        ):
            pass


def test_a_file_that_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with atomic_file(target, clobber=False) as descriptor:
        os.write(descriptor, b"first")
    with (
        pytest.raises(InputError, match="exists already"),
        atomic_file(target, clobber=False) as descriptor,
    ):
        os.write(descriptor, b"second")
    assert target.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS])
def test_where_a_name_cannot_be_taken_in_one_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: Mock(renameat2=lambda *_: -1))
    monkeypatch.setattr("ctypes.get_errno", lambda: number)
    target = tmp_path / "out"
    with atomic_file(target, clobber=False) as descriptor:
        os.write(descriptor, b"first")
    with pytest.raises(InputError, match="exists"), atomic_file(target, clobber=False):
        pass
    assert target.read_bytes() == b"first"


def test_free_space_of_a_folder_to_come(tmp_path: Path) -> None:
    assert free_space(tmp_path / "a" / "b") > 0
    assert free_space(Path("no/such/folder")) > 0


MAKERS = pytest.mark.parametrize(
    "make",
    [
        partial_folder,
        atomic_folder,
        lambda path: atomic_folder(path, resume=Resume("key", lambda *_: False)),
    ],
    ids=["scratch", "folder", "resumable"],
)


@MAKERS
def test_a_folder_that_another_run_sweeps_before_it_is_locked_is_made_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], AbstractContextManager[Path]],
) -> None:
    make_folder = Path.mkdir
    swept: list[Path] = []

    def mkdir(path: Path, *args: Any, **options: Any) -> None:
        make_folder(path, *args, **options)
        if not swept:
            swept.append(path)
            sweep_partials(tmp_path / "out")

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with make(tmp_path / "out") as folder:
        assert swept
        (folder / "file").touch()


def test_a_run_that_sweeps_just_now_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the lock, so what it removes is not taken for a folder of ours."""
    lock = fcntl.flock
    sweepers: list[threading.Timer] = []

    def remove(stale: Path, held: int) -> None:
        stale.rmdir()
        os.close(held)

    def flock(descriptor: int, operation: int) -> None:
        if not sweepers:
            (stale,) = tmp_path.glob(".out.*")
            other = os.open(stale, os.O_RDONLY)
            lock(other, fcntl.LOCK_EX)
            sweepers.append(threading.Timer(0.1, remove, (stale, other)))
            sweepers[0].start()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with partial_folder(tmp_path / "out") as folder:
        sweepers[0].join()
        (folder / "file").touch()


@pytest.mark.parametrize("maker", [atomic_file, partial_folder])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("named", [None, "inside", "elsewhere"])
def test_an_error_names_the_place_without_room(
    tmp_path: Path,
    maker: Callable[[Path], AbstractContextManager[object]],
    number: int,
    named: str | None,
) -> None:
    """Not the temporary file; and another place where the error is of one."""
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    file = {"inside": out / ".x.partial/a/b", "elsewhere": other / "x"}.get(named or "")
    with pytest.raises(HostError) as caught, maker(out / "x"):
        raise OSError(number, os.strerror(number), str(file) if file else None)
    place = other if named == "elsewhere" else out
    assert re.search(f" (to|in) {re.escape(str(place))}(:|$)", caught.value.message)
    assert exit_code_of(caught.value) == 4
    assert list(out.iterdir()) == []


def test_other_errors_stay_as_they_are(tmp_path: Path) -> None:
    error = OSError(errno.EIO, "broken")
    with pytest.raises(OSError, match="broken") as caught, atomic_file(tmp_path / "x"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("maker", [atomic_file, partial_folder])
def test_a_name_that_is_too_long(
    tmp_path: Path, maker: Callable[[Path], AbstractContextManager[object]]
) -> None:
    path = tmp_path / ("x" * 240)
    with pytest.raises(InputError, match="File name too long") as caught, maker(path):
        pass
    assert "a shorter name: the temporary file's name is 26 characters longer" in caught.value.hint
    with maker(tmp_path / ("x" * (255 - 26))):
        pass
