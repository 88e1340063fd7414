"""A forked run is like a run of its own: streams, exit codes, environment, folder, umask, time."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lib.tools.cli import IMAGER, environment
from tests.lib.tools.forkserver import ForkServer, Request


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer() as server:
        yield server


def forked(
    server: ForkServer, *args: str, env: dict[str, str], cwd: Path, umask: int, stdin: bytes
) -> tuple[int, bytes, bytes]:
    """Run `imager ARGS` in a child of `server`; return its exit code and both outputs."""
    given, out, errors = (cwd.parent / name for name in ("given", "out", "errors"))
    given.write_bytes(stdin)
    with given.open("rb") as first, out.open("wb") as second, errors.open("wb") as third:
        streams = (first.fileno(), second.fileno(), third.fileno())
        code = server.run(Request(args, env, str(cwd), umask, streams), seconds=60)
    return code, out.read_bytes(), errors.read_bytes()


@pytest.mark.parametrize(
    "args",
    [
        ("--version",),
        ("images", "default", "--talos-version", "v1.9.0"),
        ("images", "list", "--from", "-"),
        ("images", "list", "--from", "missing.yaml"),
        ("profile", "show", "nothing"),
        ("cmdline",),
    ],
)
def test_a_forked_run_is_like_one_of_its_own(
    server: ForkServer, tmp_path: Path, args: tuple[str, ...]
) -> None:
    env = environment({"SOURCE_DATE_EPOCH": "1750000000"})
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    pod = b"{kind: Pod, spec: {containers: [{image: registry.local/a:v1}]}}"
    own = subprocess.run(
        [*IMAGER, *args], env=env, cwd=cwd, input=pod, capture_output=True, umask=0o77, check=False
    )
    run = forked(server, *args, env=env, cwd=cwd, umask=0o77, stdin=pod)
    assert run == (own.returncode, own.stdout, own.stderr)


def test_a_forked_run_has_its_own_umask_and_folder(server: ForkServer, tmp_path: Path) -> None:
    folders = []
    for umask in (0o22, 0o77):
        cwd = tmp_path / f"{umask:o}"
        cwd.mkdir()
        args = ("metal", "--output-kind", "cmdline")
        code, _, errors = forked(server, *args, env=environment(), cwd=cwd, umask=umask, stdin=b"")
        assert code == 0, errors
        folders.append(cwd / "_out")
    assert [oct(folder.stat().st_mode & 0o777) for folder in folders] == ["0o755", "0o700"]


def test_a_run_that_hangs_is_killed(server: ForkServer, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with (tmp_path / "out").open("wb") as out, os.fdopen(reader), os.fdopen(writer, "wb"):
        streams = (reader, out.fileno(), out.fileno())
        args = ("images", "list", "--from", "-")
        request = Request(args, environment(), str(tmp_path), -1, streams)
        with pytest.raises(subprocess.TimeoutExpired):
            server.run(request, seconds=0.5)
