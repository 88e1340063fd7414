"""What tests of whole outputs need: the command line as a process, boot assets, foreign tools."""

from __future__ import annotations

import atexit
import functools
import hashlib
import io
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from typer.testing import CliRunner

from imager.support.arch import find_arch
from imager.support.errors import ImagerError
from tests.lib.keys.pe_stub import MACHINE, TEXT_START, patched, pe_stub
from tests.lib.tools.forkserver import ForkServer, Request

REPOSITORY = Path(__file__).resolve().parents[3]
IMAGER = (sys.executable, "-m", "imager")
MIB = 1 << 20
_TIMEOUT = 120
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
_BLOCK = 1 << 16
_RUNS = itertools.count()
_FEW_RUNS = 3
# For a process whose modules or memory are looked at: coverage stays out of it.
UNMEASURED = {"COVERAGE_PROCESS_CONFIG": ""}
_READ_AT_IMPORT = ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "PY_COLORS", "TERM", "TERMINAL_WIDTH")

Completed = subprocess.CompletedProcess[str]


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a run: this one, without what would change an output.

    Nor is the code compiled anew in each of the thousand runs.
    """
    dropped = ("SOURCE_DATE_EPOCH", "PYTHONDONTWRITEBYTECODE")
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    kept["PATH"] = f"{kept.get('PATH', os.defpath)}:{_SBIN}"
    kept["PYTHONPATH"] = str(REPOSITORY)
    return {**kept, **(changes or {})}


def run(
    *args: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str = "",
    umask: int = -1,
    prefix: Sequence[str | Path] = (),
) -> Completed:
    """Run `imager ARGS` to its end; `prefix` is a program that starts it.

    Where nothing hangs on how Python starts, it is a child of a fork server: see
    `tests/lib/tools/forkserver.py`. A server takes a second to start, which a few runs do not
    earn back.
    """
    if not prefix and not any(map(_is_for_the_start, env or {})) and next(_RUNS) >= _FEW_RUNS:
        return _run_forked(list(map(str, args)), environment(env), cwd, stdin, umask)
    return subprocess.run(
        [*prefix, *IMAGER, *args],
        env=environment(env),
        cwd=cwd,
        input=stdin,
        umask=umask,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )


def _is_for_the_start(name: str) -> bool:
    """Return whether Python, C or a library reads the variable once, when it is loaded."""
    return name.startswith(("PYTHON", "LC_", "LANG", "LD_")) or name in _READ_AT_IMPORT


@functools.cache
def _fork_server() -> ForkServer:
    server = ForkServer()
    atexit.register(server.__exit__)
    return server


def _run_forked(
    args: list[str], env: Mapping[str, str], cwd: Path | None, stdin: str, umask: int
) -> Completed:
    with ExitStack() as stack:
        given, out, errors = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        given.write(stdin.encode())
        given.seek(0)
        streams = (given.fileno(), out.fileno(), errors.fileno())
        request = Request(args, env, str(cwd or Path.cwd()), umask, streams)
        code = _fork_server().run(request, seconds=_TIMEOUT)
        texts = [_text(stream) for stream in (out, errors)]
    return Completed([*IMAGER, *args], code, *texts)


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return io.TextIOWrapper(io.BytesIO(stream.read())).read()


@dataclass(frozen=True, slots=True)
class Invoked:
    """What became of `imager ARGS` in this process; `error` is what ended it, if anything did."""

    stdout: str
    exit_code: int
    error: ImagerError | None

    @property
    def message(self) -> str:
        """What is wrong, and what to do."""
        assert self.error, self.stdout
        return f"{self.error.message}\n{self.error.hint}"


def invoke(*args: str | Path, stdin: str = "") -> Invoked:
    """Run `imager ARGS` in this process: quick, but its streams and exit are not the real ones."""
    from imager.cli.app import app

    done = CliRunner().invoke(app, [*map(str, args)], input=stdin)
    if isinstance(done.exception, ImagerError):
        return Invoked(done.stdout, done.exception.exit_code, done.exception)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Invoked(done.stdout, done.exit_code, None)


# A process counts the memory of the one that started it as its own, so a small one starts it.
_LAUNCHER = (
    "import resource, subprocess, sys\n"
    "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10)\n"
)


def peak_memory(*args: str | Path) -> int:
    """Run `imager ARGS`, which must succeed; return the most bytes of memory that it held."""
    argv = [sys.executable, "-S", "-c", _LAUNCHER, *IMAGER, *args]
    done = subprocess.run(
        argv,
        env=environment(UNMEASURED),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def build(*args: str | Path, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a build that must succeed; return its JSON."""
    done = run(*args, "--json", env=env)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def tool(
    *argv: str | Path, status: int | None = 0, stdin: bytes = b"", cwd: Path | None = None
) -> str:
    """Run a foreign tool and return all that it says; its exit code must be `status`, if given."""
    done = subprocess.run(
        argv,
        input=stdin,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**environment(), "LC_ALL": "C", "TZ": "UTC"},
        timeout=_TIMEOUT,
        check=False,
    )
    text = done.stdout.decode(errors="replace")
    assert status in (None, done.returncode), f"{argv}: {done.returncode}\n{text}"
    return text


def synthetic_assets(folder: Path, *, arch: str = "amd64") -> Path:
    """Put small boot assets, the kernel's with a version in its header, into `folder`/`arch`.

    The stub says that it knows profiles; GRUB is the real one.
    """
    place = folder / arch
    place.mkdir(parents=True)
    (place / "grub").symlink_to(real_assets(arch) / arch / "grub")
    # The x86 boot protocol's fields: magic, and a pointer to the version less 0x200.
    machine = find_arch(arch).pe_machine.to_bytes(2, "little")
    kernel = bytearray(patched(pe_stub(), MACHINE, machine))
    kernel[0x202:0x206] = b"HdrS"
    kernel[0x20E:0x210] = (0x100).to_bytes(2, "little")
    kernel[0x300:0x30D] = b"6.12.6-talos "
    (place / "vmlinuz").write_bytes(kernel + bytes(range(256)) * 1000)
    (place / "initramfs.xz").write_bytes(b"initramfs" * 50_001)
    for name in ("systemd-boot.efi", "systemd-stub.efi"):
        told = f"#### LoaderInfo: {Path(name).stem} 257.1 ####".encode()
        stub = patched(pe_stub(), TEXT_START, told)
        (place / name).write_bytes(patched(stub, MACHINE, machine))
    return folder


def real_assets(arch: str = "amd64") -> Path:
    """Return the folder with the fetched boot assets."""
    folder = Path(os.environ.get("IMAGER_ASSETS") or REPOSITORY / ".cache/assets")
    missing = f"no boot assets in {folder}: run `make assets ARCH={arch}`"
    assert (folder / arch / "vmlinuz").is_file(), missing
    return folder


def built_tools() -> Path:
    """Return the folder of the tools that `make test-setup` builds."""
    return Path(os.environ.get("IMAGER_TOOLS") or REPOSITORY / ".cache/tools")


def go_tool(name: str) -> Path:
    """Return a program of Go that `make NAME` builds."""
    found = sorted(built_tools().glob(f"{name}-*/{name}"))
    assert found, f"there is no {name} in {built_tools()}: run `make {name}`"
    return found[-1]


@dataclass(frozen=True, slots=True)
class GptEntry:
    """A partition as sfdisk sees it; `start` and `size` in bytes."""

    label: str
    start: int
    size: int
    type_guid: str
    guid: str


def partitions(image: Path) -> tuple[str, list[GptEntry]]:
    """Return the disk GUID and the partitions of `image`, read by sfdisk."""
    table = json.loads(tool("sfdisk", "-J", image))["partitiontable"]
    sector = table["sectorsize"]
    entries = [
        GptEntry(
            part.get("name", ""),
            part["start"] * sector,
            part["size"] * sector,
            part["type"].lower(),
            part["uuid"].lower(),
        )
        for part in table["partitions"]
    ]
    return table["id"].lower(), entries


def gpt_is_sound(image: Path) -> bool:
    """Whether sgdisk finds nothing to say against both partition tables of `image`."""
    said = tool("sgdisk", "-v", image, status=None)
    return "No problems found" in said and not re.search("caution|warning|problem:", said, re.I)


def cut(image: Path, offset: int, size: int, target: Path) -> Path:
    """Copy `size` bytes at byte `offset` of `image` to the sparse file `target`."""
    with image.open("rb") as source, target.open("wb") as file:
        file.truncate(size)
        for start, data in _data_blocks(source.fileno(), offset, offset + size):
            file.seek(start - offset)
            file.write(data)
    return target


def fingerprint(path: Path) -> str:
    """Return a digest of a file's size and bytes, quick for sparse files."""
    digest = hashlib.sha256(str(path.stat().st_size).encode())
    with path.open("rb") as file:
        for start, data in _data_blocks(file.fileno(), 0, path.stat().st_size):
            digest.update(b"%d:" % start)
            digest.update(data)
    return digest.hexdigest()


def data_of(path: Path) -> bytes:
    """Return what a file holds besides zeros, quick for sparse files."""
    with path.open("rb") as file:
        blocks = _data_blocks(file.fileno(), 0, path.stat().st_size)
    return b"".join(data for _, data in blocks)


def _data_blocks(descriptor: int, start: int, end: int) -> list[tuple[int, bytes]]:
    """Return the blocks that are not all zeros, whatever the file's holes are."""
    blocks = []
    position = start
    while position < end:
        try:
            data_start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError:
            break
        position = max(position, start + (data_start - start) // _BLOCK * _BLOCK)
        if position >= end:
            break
        data = os.pread(descriptor, min(_BLOCK, end - position), position)
        if data.count(0) != len(data):
            blocks.append((position, data))
        position += len(data)
    return blocks
