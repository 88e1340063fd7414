"""Sizes, folders, disks and signals that end a build: told, and nothing left behind."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import IO

import pytest

from tests.lib.caches.caches import (
    make_flat,
)
from tests.lib.tools.cli import IMAGER, MIB, environment, run
from tests.lib.tools.fault_site import (
    AS_NOBODY,
    HOST,
    INPUT,
    NOBODY,
    ROOT,
    Site,
    check_error,
    refused,
)

_NAMED = ("--advertised-address", "10.0.0.1", "--tls-cert-file", "out/c.crt")


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("12XB", ("'12XB' is not a size",), ""),
        ("-4GiB", ("'-4GiB' is not a size",), ""),
        ("", ("--image-disk-size is empty",), "leave it out"),
        ("4GiB and more", ("not a size",), ""),
        ("99999999999TB", ("larger than 16 EiB",), ""),
        ("9EiB", ("below 8 EiB",), ""),
        ("4G", ("is ambiguous: 4GB to Talos, 4GiB to qemu-img",), ""),
        ("0.3B", ("a disk of 0 B is too small",), "--image-disk-size=1246MiB"),
        ("0", ("too small", "EFI 100 MiB"), "--image-disk-size=1246MiB"),
        ("1GiB", ("a disk of 1 GiB is too small", "META 1 MiB, and 144 MiB for"), "=1246MiB"),
        ("2000000001", ("not a multiple of the sector size, 512 bytes",), "2000000000"),
    ],
)
def test_bad_disk_size(site: Site, text: str, words: tuple[str, ...], hint: str) -> None:
    check_error(refused(site, "metal", f"--image-disk-size={text}"), INPUT, *words, hint=hint)


def test_a_disk_that_is_too_small_by_little_is_told_exact_sizes(site: Site) -> None:
    done = refused(site, "metal", "--talos-version=v1.13.0", "--image-disk-size=4200MiB")
    parts = "EFI 2101 MiB, BIOS 1 MiB, BOOT 2000 MiB, META 1 MiB, and 144 MiB for"
    check_error(done, INPUT, "a disk of 4200 MiB", parts, hint="--image-disk-size=4247MiB")


@pytest.mark.parametrize("text", ["soon", "-1", "1e9", "0x10"])
def test_bad_epoch(site: Site, text: str) -> None:
    done = run(
        *("iso", "--assets", site.assets, "--output", site.out),
        env={"SOURCE_DATE_EPOCH": text},
        cwd=site.folder,
    )
    check_error(done, INPUT, f"SOURCE_DATE_EPOCH={text!r}", hint="git log")
    assert not list(site.out.iterdir())


def test_a_missing_output_folder_is_made_and_left_by_a_failed_build(site: Site) -> None:
    place = site.folder / "not" / "there yet"
    build = ("iso", "--assets", site.assets, "-o", place)
    done = run(*build, "--image-cache", site.folder / "none", cwd=site.folder)
    assert done.returncode == INPUT
    assert not place.parent.exists()
    assert run(*build, cwd=site.folder).returncode == 0
    assert [path.name for path in place.iterdir()] == ["metal-amd64.iso"]


def test_output_folder_is_a_file(site: Site) -> None:
    place = site.folder / "file"
    place.write_text("mine")
    done = run("iso", "--assets", site.assets, "--output", place, cwd=site.folder)
    check_error(done, INPUT, str(place), "is not a folder")
    assert place.read_text() == "mine"


def test_output_is_a_folder(site: Site) -> None:
    (site.out / "metal-amd64.iso").mkdir()
    check_error(refused(site, "iso"), INPUT, "metal-amd64.iso is a folder", hint="--output")


if ROOT:

    def test_output_folder_not_writable(site: Site) -> None:
        site.out.chmod(0o755)
        before = site.snapshot()
        done = site.run("iso", prefix=AS_NOBODY)
        check_error(done, HOST, str(site.out), f"not writable for user {NOBODY}", hint="folder")
        assert site.snapshot() == before

    def test_cache_not_readable(site: Site) -> None:
        flat = site.flat()
        flat.blobs[0].chmod(0)
        site.out.chmod(0o777)
        before = site.snapshot()
        done = site.run("iso", "--image-cache", flat.folder, prefix=AS_NOBODY)
        check_error(done, HOST, flat.blobs[0].name, "Permission denied", hint=f"user {NOBODY}")
        assert site.snapshot() == before

    @pytest.fixture
    def small_disk(site: Site) -> Iterator[Site]:
        """Put a file system of 48 MiB at the output folder."""
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", site.out], check=True)
        yield site
        subprocess.run(["umount", site.out], check=True)

    def test_too_little_space(small_disk: Site) -> None:
        (small_disk.out / "filler").write_bytes(bytes(40 * MIB))
        cache = make_flat(small_disk.folder / "flat", images=1, blob_size=9_000_000, layers=1)
        for kind in ("iso", "metal"):
            done = refused(small_disk, kind, "--image-cache", cache.folder, code=HOST)
            check_error(done, HOST, str(small_disk.out), "8 MiB free", "needed", hint="folder")

    @pytest.mark.parametrize(
        "command",
        [
            ("secureboot", "gen-keys", "out/keys"),
            ("images", "cache-cert-gen", *_NAMED, "--tls-key-file", "out/c.key"),
            ("metal", "--assets", "assets", "--output", "new/"),
        ],
    )
    def test_a_full_disk_is_named(small_disk: Site, command: tuple[str, ...]) -> None:
        """Whatever is written there, be it temporary files."""
        with (small_disk.out / "filler").open("wb", buffering=0) as file:
            fill(file)
        before = small_disk.snapshot()
        done = run(*command, env={"TMPDIR": str(small_disk.out)}, cwd=small_disk.folder)
        check_error(done, HOST, "no space left while writing to ", "out\n", hint="free space")
        assert small_disk.snapshot() == before

    def test_a_dry_run_says_that_there_is_too_little_space(small_disk: Site) -> None:
        (small_disk.out / "filler").write_bytes(bytes(40 * MIB))
        flat = make_flat(small_disk.folder / "flat", images=1, blob_size=9_000_000, layers=1)
        done = small_disk.run("iso", "--image-cache", flat.folder, "--dry-run")
        assert done.returncode == HOST
        assert "space needed" in done.stdout
        assert f"error: {small_disk.out} has " in done.stderr

    def test_disk_full_half_way(small_disk: Site) -> None:
        """Space is there at the start; another program takes it while the build is stopped."""
        (small_disk.assets / "amd64/initramfs.xz").write_bytes(random.Random(1).randbytes(40 * MIB))
        with started(small_disk, "metal") as (process, _):
            with (small_disk.out / "filler").open("wb", buffering=0) as file:
                fill(file)
            process.send_signal(signal.SIGCONT)
            _, stderr = process.communicate(timeout=60)
        assert process.returncode == HOST, stderr
        assert f"no space left while writing to {small_disk.out}" in stderr
        assert "Traceback" not in stderr
        assert [path.name for path in small_disk.out.iterdir()] == ["filler"]


def fill(file: FileIO) -> None:
    with suppress(OSError):
        while True:
            file.write(bytes(64 << 10))


@pytest.mark.parametrize(
    ("name", "what"), [("missing", "does not exist"), ("assets/amd64/vmlinuz", "is not a folder")]
)
def test_a_folder_for_temporary_files_that_is_none(site: Site, name: str, what: str) -> None:
    """Who sets TMPDIR has a reason not to use another folder, such as its size."""
    place = site.folder / name
    before = site.snapshot()
    done = run("metal", "--assets", site.assets, "-o", site.out, env={"TMPDIR": str(place)})
    check_error(done, HOST, f"TMPDIR is {place}, which {what}", hint="set TMPDIR")
    assert site.snapshot() == before


SD_BOOT = ("metal", "--bootloader", "sd-boot")


@pytest.mark.parametrize("command", [("iso",), SD_BOOT, (*SD_BOOT, "--out-format", "raw")])
def test_largest_file_size_reached(site: Site, command: tuple[str, ...]) -> None:
    (site.assets / "amd64/initramfs.xz").write_bytes(random.Random(1).randbytes(9 * MIB))
    before = site.snapshot()
    done = site.run(*command, prefix=("prlimit", f"--fsize={4 * MIB}"))
    check_error(
        done, HOST, f"exceeds the largest file size in {site.out}", hint="another file system"
    )
    assert site.snapshot() == before


class started:  # noqa: N801 - used like a function
    """A build that has begun to write, stopped by SIGSTOP; and its standard error."""

    def __init__(self, site: Site, *args: str | Path) -> None:
        self._site = site
        self._args = args

    def __enter__(self) -> tuple[subprocess.Popen[str], IO[str]]:
        common = ("--assets", self._site.assets, "--output", self._site.out, "--progress", "json")
        self._process = subprocess.Popen(
            [*IMAGER, *self._args, *common],
            env=environment(self._site.env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr
        for line in self._process.stderr:
            if json.loads(line)["event"] == "progress":
                break
        while not list(self._site.out.glob(".*.partial")) and self._process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.05)
        self._process.send_signal(signal.SIGSTOP)
        return self._process, self._process.stderr

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def slow_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache that takes a while to compress."""
    folder = tmp_path_factory.mktemp("slow") / "flat"
    return make_flat(folder, images=1, layers=1, blob_size=150 * MIB).folder


@pytest.fixture
def slow(site: Site, slow_cache: Path) -> Site:
    """Give the site the slow cache."""
    (site.folder / "flat").symlink_to(slow_cache)
    return site


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_signal_half_way_leaves_nothing(slow: Site, number: int, code: int) -> None:
    before = slow.snapshot()
    with started(slow, "metal", "--image-cache", slow.folder / "flat") as (process, _):
        assert not (slow.out / "metal-amd64.raw.zst").exists()
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    assert stdout == ""
    assert slow.snapshot() == before


def test_signal_is_told_even_when_cleaning_up_fails(slow: Site) -> None:
    with started(slow, "metal", "--image-cache", slow.folder / "flat") as (process, _):
        shutil.rmtree(slow.out)
        slow.out.write_text("no folder any more")
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 143, stderr
    assert stderr.endswith("error: terminated\n")


def test_what_fails_after_a_signal_does_not_hide_it(tmp_path: Path) -> None:
    """Whatever the command was doing, and whatever then fails while it unwinds."""
    script = tmp_path / "run.py"
    script.write_text(
        "import os, signal\n"
        "import imager.cli.app\n"
        "from imager.__main__ import main\n"
        "def command(**_):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        signal.pause()\n"
        "    finally:\n"
        "        os.stat('/nothing/there')\n"
        "imager.cli.app.app = command\n"
        "main()\n"
    )
    done = subprocess.run(
        [IMAGER[0], script],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (143, "error: terminated\n")


def test_kill_half_way_is_cleaned_up_by_the_next_run(slow: Site) -> None:
    with started(slow, "metal", "--image-cache", slow.folder / "flat") as (process, _):
        process.kill()
        process.wait(timeout=60)
    names = [path.name for path in slow.out.iterdir()]
    assert all(name.startswith(".metal-amd64.raw.zst.") for name in names)
    # A run that is killed a little later leaves a file of this kind.
    (slow.out / ".metal-amd64.raw.zst.0123abcd.partial").write_bytes(b"half")
    (slow.out / ".other.raw.0123abcd.partial").write_bytes(b"of another output")
    assert slow.run("metal").returncode == 0
    assert sorted(path.name for path in slow.out.iterdir()) == [
        ".other.raw.0123abcd.partial",
        "metal-amd64.raw.zst",
    ]


def test_partial_file_of_a_running_build_is_left_alone(slow: Site) -> None:
    with started(slow, "metal", "--image-cache", slow.folder / "flat") as (process, _):
        held = [path for path in slow.out.iterdir() if path.name.endswith(".partial")]
        assert slow.run("metal").returncode == 0
        assert all(path.exists() for path in held)
        process.send_signal(signal.SIGCONT)
        assert process.wait(timeout=60) == 0
    assert [path.name for path in slow.out.iterdir()] == ["metal-amd64.raw.zst"]
