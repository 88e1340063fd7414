"""What is printed where: plans, summaries, progress, and streams that are closed or full."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lib.caches.caches import (
    make_tar,
)
from tests.lib.tools.cli import run
from tests.lib.tools.fault_site import INPUT, Site, check_error, refused


@pytest.mark.parametrize("kind", ["iso", "metal"])
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_dry_run_writes_nothing(site: Site, kind: str, form: tuple[str, ...]) -> None:
    flat = site.flat()
    before = site.snapshot()
    done = run(
        *(kind, "--dry-run", *form),
        *("--assets", site.assets, "--image-cache", flat.folder),
        env=site.env,
        cwd=site.folder,
    )
    assert done.returncode == 0, done.stderr
    assert site.snapshot() == before
    if form:
        plan = json.loads(done.stdout)
        assert plan["imageCache"]["images"] == sorted(flat.references)
        assert plan["imageCache"]["blobs"] == len(flat.blobs)
        assert plan["version"] == "v1.9.0"
        assert plan["spaceNeeded"] <= plan["spaceFree"]
        names = " ".join(region["name"] for region in plan["regions"])
        assert all(path in names for path in flat.files)
        assert plan["output"].startswith("_out/") or plan["output"].startswith("/out/")


def test_plan_tells_what_a_build_takes(site: Site) -> None:
    flat = site.flat()
    args: tuple[str | Path, ...] = ("metal", "--image-cache", flat.folder, "--out-format", "raw")
    args += ("--json",)
    plan = json.loads(site.run(*args, "--dry-run").stdout)
    built = json.loads(site.run(*args).stdout)
    output = site.out / "metal-amd64.raw"
    assert plan["output"] == built["output"] == str(output)
    assert plan["size"] == built["size"] == output.stat().st_size
    assert output.stat().st_blocks * 512 <= plan["spaceNeeded"]


def test_json_is_alone_on_standard_output(site: Site) -> None:
    done = site.run("iso", "--json", "--checksum")
    result = json.loads(done.stdout)
    assert len(result["sha256"]) == 64
    assert result["format"] == "raw"
    assert result["imageCache"] is None


def test_quiet_says_nothing(site: Site) -> None:
    done = site.run("iso", "--image-cache", site.flat().folder, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (site.out / "metal-amd64.iso").exists()


def test_quiet_still_tells_errors(site: Site) -> None:
    done = refused(site, "iso", "--quiet", "--image-cache", site.folder / "none")
    check_error(done, INPUT, "does not exist")


def test_files_that_are_no_part_of_a_cache_are_told(site: Site) -> None:
    flat = site.flat()
    (flat.folder / "README").write_text("hello")
    (flat.folder / "blob/sha256-short").write_text("hello")
    done = site.run("iso", "--image-cache", flat.folder, "--quiet")
    assert done.returncode == 0
    assert "warning: " in done.stderr
    assert "2 files" in done.stderr


def test_progress_in_json(site: Site) -> None:
    args = ("metal", "--image-cache", site.flat().folder, "--out-format", "raw")
    done = site.run(*args, "--progress", "json")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    steps = [event for event in events if event["event"] == "progress"]
    assert steps[0]["done"] == 0
    assert steps[-1]["done"] == steps[-1]["total"] > 0
    assert [event["done"] for event in steps] == sorted(event["done"] for event in steps)


@pytest.mark.parametrize("command", ["--dry-run", "--json"])
def test_reader_of_standard_output_has_gone(site: Site, command: str) -> None:
    script = '"$@" | true; echo "${PIPESTATUS[0]}"'
    prefix = ("bash", "-c", script, "bash")
    done = site.run("iso", command, prefix=prefix)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    # As of a program that SIGPIPE ends, and not 1: that is an answer of some commands.
    assert done.stdout.strip() in ("0", "141")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_standard_streams(site: Site, closed: str) -> None:
    prefix = ("bash", "-c", f'exec "$@" {closed}', "bash")
    done = site.run("iso", "--image-cache", site.flat().folder, prefix=prefix)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in site.out.iterdir()] == ["metal-amd64.iso"]


def test_full_standard_output(site: Site) -> None:
    prefix = ("bash", "-c", 'exec "$@" >/dev/full', "bash")
    done = site.run("iso", "--dry-run", prefix=prefix)
    assert done.returncode == 6
    check_error(
        done, 6, "cannot write to standard output: No space left on device", hint="elsewhere"
    )


@pytest.mark.parametrize(("arguments", "code"), [(("iso",), 0), (("iso", "--nonsense"), INPUT)])
def test_full_standard_error(site: Site, arguments: tuple[str, ...], code: int) -> None:
    """What cannot be told is lost; exit code and output are not."""
    prefix = ("bash", "-c", 'exec "$@" 2>/dev/full', "bash")
    done = site.run(*arguments, "--image-cache", site.flat().folder, prefix=prefix)
    assert done.returncode == code
    assert [path.name for path in site.out.iterdir()] == ["metal-amd64.iso"] * (code == 0)


def test_tar_of_the_tree_is_taken(site: Site) -> None:
    path = make_tar(site.flat(), site.folder / "cache.tar")
    assert site.run("iso", "--image-cache", path).returncode == 0
