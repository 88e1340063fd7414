"""`imager config` when something is wrong: what it says, where, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lib.caches.caches import make_flat
from tests.lib.tools import cli
from tests.lib.tools.fault_site import INPUT, UNSUPPORTED, check_error

CONFIG = """\
machine:
  type: worker
  install:
    image: ghcr.io/siderolabs/installer:v1.9.0
  features:
    imageCache:
      localEnabled: true
---
apiVersion: v1alpha1
kind: VolumeConfig
name: IMAGECACHE
provisioning:
  diskSelector:
    match: disk.size > 120 * GiB
  minSize: 3GiB
  maxSize: 2GiB
mount:
  secure: true
"""
RIGHT = """\
machine:
  features:
    imageCache:
      localEnabled: true
---
apiVersion: v1alpha1
kind: VolumeConfig
name: IMAGECACHE
provisioning:
  diskSelector:
    match: disk.size > 120u * GiB
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_flat(tmp_path_factory.mktemp("cache") / "flat", images=1).folder


def test_everything_at_once(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(CONFIG)
    done = cli.run("config", "check", path, "--image-cache", cache)
    check_error(done, INPUT, "6 problems", hint="images cache-create")
    lines = done.stderr.splitlines()
    problems = [line.strip() for line in lines if line.startswith(f"  {path}:")]
    assert [line.removeprefix(f"{path}:").partition(": ")[0] for line in problems] == [
        "2",
        "2",
        "4",
        "14:28",
        "15",
        "17",
    ]
    assert "lacks ghcr.io/siderolabs/installer:v1.9.0" in problems[2]
    assert "match: `*` does not take (int, uint): sizes are uint, write 10u * GiB" in problems[3]
    assert problems[4].endswith("minSize (3 GiB) is larger than maxSize (2 GiB)")
    assert problems[5].endswith("mount: Talos v1.9.0 does not support it: v1.13 added it")


def test_what_the_volume_cannot_hold(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(f"{RIGHT}  minSize: 16MiB\n  maxSize: 16MiB\n")
    done = cli.run("config", "check", path, "--image-cache", cache)
    check_error(done, INPUT, f"{path}:13: the volume IMAGECACHE is too small", "maxSize is 16 MiB")


def test_warnings_are_no_errors() -> None:
    done = cli.run("config", "check", "-", stdin=f"{RIGHT}  maxSize: 50%\n")
    assert done.returncode == 0
    assert done.stderr == (
        "warning: standard input:12: maxSize 50%: for the volume IMAGECACHE, Talos ignores "
        "percentages, so it takes all free space; write a size such as 4GiB\n"
    )
    assert "standard input: 2 documents, 1 warning\n" in done.stdout
    assert "image cache   on (machine.features.imageCache.localEnabled, line 4)" in done.stdout
    assert "volume        500 MiB to 50 % of the disk, on disk.size > 120u * GiB" in done.stdout
    quiet = cli.run("config", "check", "-", "--quiet", stdin=RIGHT)
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_strict() -> None:
    done = cli.run("config", "check", "-", "--strict", stdin=f"{RIGHT}  maxSize: 50%\n")
    check_error(done, INPUT, "1 problem", "standard input:12: maxSize 50%", hint="without --strict")
    assert cli.run("config", "check", "-", "--strict", stdin=RIGHT).returncode == 0


def test_warnings_beside_problems() -> None:
    both = f"{RIGHT}  maxSize: 50%\n---\napiVersion: v1alpha1\nkind: VolumeConfg\nname: a\n"
    done = cli.run("config", "check", "-", "--json", stdin=both)
    assert done.stderr.startswith("warning: standard input:12: maxSize 50%")
    assert done.returncode == INPUT
    assert "1 problem\n  standard input:15: VolumeConfg a: kind" in done.stderr
    said = json.loads(done.stdout)
    assert (len(said["problems"]), len(said["warnings"])) == (1, 1)
    strict = cli.run("config", "check", "-", "--strict", stdin=both)
    check_error(strict, INPUT, "2 problems", "standard input:12: maxSize 50%", "input:15: Vol")


def test_a_cache_that_is_turned_off(cache: Path) -> None:
    off = RIGHT.replace("true", "false")
    done = cli.run("config", "check", "-", "--image-cache", cache, stdin=off)
    check_error(
        done, INPUT, "standard input:4: the image cache is disabled, so --image-cache is not"
    )


def test_what_is_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes(b"machine: \xff")
    check_error(cli.run("config", "check", path), INPUT, str(path), "not UTF-8")
    path.write_text("machine: {\n")
    check_error(cli.run("config", "check", path), INPUT, f"{path}: line 2")
    done = cli.run("config", "check", tmp_path / "none.yaml")
    check_error(done, INPUT, "none.yaml", "No such file")
    done = cli.run("config", "check", "-", stdin="#" * (4 << 20) + "\n")
    check_error(done, INPUT, "standard input is too large for a machine configuration")


def test_what_is_no_cache(tmp_path: Path, cache: Path) -> None:
    for arguments in (["patch"], ["check", "-"]):
        done = cli.run("config", *arguments, "--image-cache", tmp_path, stdin=RIGHT)
        check_error(done, INPUT, f"{tmp_path} is not an image cache", hint="OCI layout")
    done = cli.run("config", "patch", "--image-cache", cache, "--talos-version", "v1.8.0")
    check_error(done, UNSUPPORTED, "Talos v1.8.0 has no image cache", hint="v1.9")
