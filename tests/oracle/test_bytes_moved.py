"""How often a build moves a byte, as strace sees it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.lib.caches.caches import CacheFixture, make_flat, make_layout, make_tar
from tests.lib.tools.cli import MIB, run, synthetic_assets

CALLS = (
    "read,pread64,readv,preadv,preadv2,write,pwrite64,writev,pwritev,pwritev2,"
    "sendfile,copy_file_range"
)
# pid call(descriptor</path>, ...) = result
_LINE = re.compile(r"^\d+ +(\w+)\((\d+)<([^>]*)>(.*)\) = (\d+)$")
_SECOND = re.compile(r"^, (?:\[[^]]*\]|NULL|\d+)?(?:, )?(\d+)<([^>]*)>")
BLOB = 4 * MIB


@dataclass(frozen=True, slots=True)
class Moved:
    """Bytes by path."""

    read: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    copied: Counter[str] = field(default_factory=Counter)


def moved(log: Path) -> Moved:
    """Return what the traced processes moved, from and to where."""
    result = Moved()
    for line in log.read_text(errors="replace").splitlines():
        match = _LINE.match(line)
        if match is None:
            assert "unfinished" not in line
            continue
        call, path, rest, count = match[1], match[3], match[4], int(match[5])
        if call in ("sendfile", "copy_file_range"):
            other = _SECOND.match(rest)
            assert other is not None, line
            source, target = (other[2], path) if call == "sendfile" else (path, other[2])
            result.copied[source] += count
            result.read[source] += count
            result.written[target] += count
        elif "read" in call:
            result.read[path] += count
        else:
            result.written[path] += count
    return result


def traced(tmp_path: Path, command: str, cache: Path, *options: str) -> tuple[Moved, Path]:
    """Build under strace; return what was moved, and the output."""
    assets = synthetic_assets(tmp_path / "assets")
    out, log = tmp_path / "out", tmp_path / "strace"
    out.mkdir()
    strace = ["strace", "-f", "-y", "-s", "0", "--seccomp-bpf", "-e", f"trace={CALLS}", "-o"]
    done = run(
        command,
        "--assets",
        assets,
        "--image-cache",
        cache,
        "--output",
        out,
        *options,
        prefix=[*strace, log, "--"],
        env={"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    lines = _joined(log.read_text(errors="replace"))
    log.write_text("\n".join(lines))
    (output,) = out.iterdir()
    return moved(log), output


def _joined(text: str) -> list[str]:
    """Return the lines of a trace with calls that were interrupted put together again."""
    waiting: dict[str, str] = {}
    lines = []
    for line in text.splitlines():
        pid, _, rest = line.partition(" ")
        if rest.endswith("<unfinished ...>"):
            waiting[pid] = line.removesuffix("<unfinished ...>").rstrip()
        elif match := re.match(r"\s*<\.\.\. \w+ resumed>(.*)", rest):
            lines.append(re.sub(r"\s+=", " =", waiting.pop(pid) + match[1]))
        else:
            lines.append(re.sub(r"\)\s+=", ") =", line))
    return lines


@pytest.fixture(name="cache", scope="module")
def large_cache(tmp_path_factory: pytest.TempPathFactory) -> CacheFixture:
    return make_flat(tmp_path_factory.mktemp("cache") / "flat", blob_size=BLOB, layers=2)


COMMANDS = pytest.mark.parametrize(
    ("command", "options"), [("iso", ()), ("metal", ("--out-format", "raw"))]
)


def _assert_written_once(found: Moved, output: Path, cache: CacheFixture) -> None:
    payload = sum(path.stat().st_size for path in cache.blobs)
    to_output = [path for path in found.written if path.startswith(str(output.parent))]
    assert len(to_output) == 1
    assert payload < found.written[to_output[0]] < payload + 8 * MIB
    elsewhere = found.written.total() - found.written[to_output[0]]
    assert elsewhere < payload / 4  # metadata of file systems, messages
    assert not any(str(output.parent) in path for path in found.read)


@pytest.mark.oracle
@COMMANDS
def test_each_blob_is_read_once_to_hash_and_to_write_it(
    tmp_path: Path, cache: CacheFixture, command: str, options: tuple[str, ...]
) -> None:
    found, output = traced(tmp_path, command, cache.folder, *options)
    for blob in cache.blobs:
        size = blob.stat().st_size
        # The small ones are configurations, which are read when the cache is opened, too.
        assert found.read[str(blob)] == (2 if size < MIB else 1) * size
    _assert_written_once(found, output, cache)


@pytest.mark.oracle
@COMMANDS
def test_an_uncompressed_layer_is_read_where_it_lies(
    tmp_path: Path, cache: CacheFixture, command: str, options: tuple[str, ...]
) -> None:
    layout = make_layout(cache, tmp_path / "layout")
    size = sum(path.stat().st_size for path in (layout / "blobs" / "sha256").iterdir())
    found, output = traced(tmp_path, command, layout, *options)
    read = sum(count for path, count in found.read.items() if path.startswith(str(layout)))
    assert read < size + MIB  # and the headers of the tar
    _assert_written_once(found, output, cache)


@pytest.mark.oracle
@COMMANDS
def test_a_compressed_cache_is_read_twice_and_never_to_scratch(
    tmp_path: Path, cache: CacheFixture, command: str, options: tuple[str, ...]
) -> None:
    tar = make_tar(cache, tmp_path / "cache.tar.zst", codec="zstd")
    found, output = traced(tmp_path, command, tar, *options)
    # To find its files, and to hash and write them.
    assert found.read[str(tar)] < 2 * tar.stat().st_size + MIB
    _assert_written_once(found, output, cache)


def test_a_second_copy_would_be_seen(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "1  copy_file_range(3</in>, [0], 4</out>, NULL, 10, 0) = 10\n"
        "1  sendfile(4</out>, 3</in>, [0], 10) = 10\n"
        '2  pread64(3</in>, ""..., 10, 0) = 7\n'
        '2  write(4</scratch>, ""..., 10) = 5\n'
        "2  read(5<pipe:[1]>, 0x7f, 10) = -1 EAGAIN (Resource temporarily unavailable)\n"
    )
    found = moved(log)
    assert found.read == Counter({"/in": 27})
    assert found.copied == Counter({"/in": 20})
    assert found.written == Counter({"/out": 20, "/scratch": 5})
