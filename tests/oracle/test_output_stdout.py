"""Outputs on standard output, through real pipes and a terminal: cmp, tar and bsdtar judge."""

from __future__ import annotations

import hashlib
import os
import pty
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.lib.caches.caches import CacheFixture, flip, make_flat
from tests.lib.tools.cli import IMAGER, build, environment, tool
from tests.lib.volumes.board_images import installer_base
from tests.oracle.test_installer import VERSION

pytestmark = pytest.mark.oracle

ISO, ZST = "metal-amd64.iso", "metal-amd64.iso.zst"
TAR = "--tar-to-stdout"


@pytest.fixture(scope="module")
def inputs(
    assets: Path, cache: CacheFixture, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, ...]:
    layout = installer_base(tmp_path_factory.mktemp("base"))
    return (
        *("--assets", str(assets), "--talos-version", VERSION),
        *("--base-installer-image", f"oci:{layout}"),
    )


# Commands by the names of their outputs.
COMMANDS: Mapping[str, tuple[str, ...]] = {
    ISO: ("iso",),
    ZST: ("iso", "--out-format", ".zst"),
    "vmware-amd64.ova": ("vmware",),
    "installer-amd64.tar": ("installer",),
}


class Shell:
    """Runs commands of a shell in a folder, with an own TMPDIR that must be empty afterwards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scratch = folder / "tmp"
        self.scratch.mkdir()

    def run(self, *args: str | Path, then: str) -> tuple[int, str]:
        """Run `imager ARGS | THEN`; return imager's exit code and what it says."""
        words = shlex.join(map(str, (*IMAGER, *args)))
        done = subprocess.run(
            ["bash", "-c", f'{words} {then}; exit "${{PIPESTATUS[0]}}"'],
            env=environment({"TMPDIR": str(self.scratch)}),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert list(self.scratch.iterdir()) == []
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr


@pytest.fixture(name="shell")
def own_shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.mark.parametrize("name", COMMANDS)
def test_standard_output_has_the_bytes_of_the_file(
    inputs: tuple[str, ...], tmp_path: Path, shell: Shell, name: str
) -> None:
    told = build(*COMMANDS[name], *inputs, "--output", tmp_path / "file", "--checksum")
    file = tmp_path / "file" / name
    for sent in (("--output", "-"), (TAR,)):
        place = tmp_path / sent[0]
        place.mkdir()
        then = f"| tar -xzC {place}" if sent == (TAR,) else f"> {place}/{name}"
        code, said = shell.run(*COMMANDS[name], *inputs, *sent, "--checksum", then=then)
        assert code == 0, said
        assert [path.name for path in place.iterdir()] == [name]
        tool("cmp", file, place / name)
        assert f"{name}: " in said
        assert f"sha256 {told['sha256']}" in said


def test_a_tar_is_the_same_each_time_and_has_the_bmap(
    inputs: tuple[str, ...], tmp_path: Path, shell: Shell
) -> None:
    tars = [tmp_path / "one.tar.gz", tmp_path / "two.tar.gz"]
    for path in tars:
        assert shell.run("iso", *inputs, TAR, "--bmap", "-q", then=f"> {path}") == (0, "")
    one, two = (hashlib.sha256(path.read_bytes()).hexdigest() for path in tars)
    assert one == two
    listed = tool("bsdtar", "-tf", tars[0]).split()
    assert listed == [ISO, f"{ISO}.bmap"]
    build("iso", *inputs, "--bmap", "--output", tmp_path / "file")
    tool("bsdtar", "-xf", tars[0], "-C", tmp_path)
    for name in listed:
        tool("cmp", tmp_path / "file" / name, tmp_path / name)


@pytest.mark.parametrize("sent", [("--output", "-"), (TAR,), (TAR, "--out-format", ".xz")])
def test_a_reader_that_goes_ends_the_run_quietly(
    inputs: tuple[str, ...], shell: Shell, sent: tuple[str, ...]
) -> None:
    code, said = shell.run("iso", *inputs, *sent, "-q", then="| head -c 1000 > /dev/null")
    assert (code, said) == (141, "")


def test_a_damaged_cache_is_reported_and_its_tar_refused(
    inputs: tuple[str, ...], tmp_path: Path, shell: Shell
) -> None:
    cache = make_flat(tmp_path / "cache", images=1, blob_size=2_000_000)
    flip(max(cache.folder.rglob("blob/*"), key=lambda path: path.stat().st_size))
    given = ("--image-cache", cache.folder, TAR)
    code, said = shell.run("iso", *inputs, *given, then="> damaged")
    assert code == 2
    assert "does not match its digest" in said
    assert f"{ISO} was sent incompletely, and must not be used" in said
    tool("tar", "-tzf", tmp_path / "damaged", status=2)


def test_a_full_disk_is_reported(inputs: tuple[str, ...], shell: Shell) -> None:
    code, said = shell.run("iso", *inputs, "--output", "-", then="> /dev/full")
    assert code == 6
    assert "cannot write to standard output: No space left on device; " in said


def test_a_terminal_is_refused(inputs: tuple[str, ...], tmp_path: Path) -> None:
    outer, inner = pty.openpty()
    done = subprocess.run(
        [*IMAGER, "iso", *inputs, "--output", "-"],
        env=environment(),
        cwd=tmp_path,
        stdout=inner,
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )
    os.close(inner)
    os.close(outer)
    assert done.returncode == 2
    assert "--output -: standard output is a terminal" in done.stderr
    assert "hint: redirect it" in done.stderr


def test_all_options_that_exclude_each_other_are_reported(
    inputs: tuple[str, ...], shell: Shell
) -> None:
    options = ("--output-device", "/dev/sdX", "--push", "r.io/a:b", "--bmap", "--json", "--files")
    code, said = shell.run("iso", *inputs, "--output", "-", *options, then="> out")
    assert code == 2
    assert "4 problems with the options:" in said
    for words in (
        "--files needs --dry-run",
        "--output - and --output-device and --push exclude each other",
        "--bmap makes a second file, and --output - sends one",
        "--json and --output - both write to standard output",
    ):
        assert words in said
