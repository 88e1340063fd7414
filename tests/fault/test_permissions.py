"""What may not be read or written has exit code 4, for every kind of input and output."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lib.tools.cli import run
from tests.lib.tools.fault_site import AS_NOBODY, HOST, NOBODY, ROOT, Site, check_error

# The path of the site that is closed, and what is run: {} is that path.
CLOSED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("flat", ("iso", "--image-cache", "{}", "--output", "out")),
    ("flat", ("images", "cache-push", "{}", "127.0.0.1:1/a:b")),
    ("flat", ("images", "cache-serve", "{}", "--address", "127.0.0.1:0")),
    ("flat", ("config", "patch", "--image-cache", "{}")),
    ("blob", ("images", "cache-verify", "flat")),
    ("file", ("secureboot", "verify", "{}")),
    ("file", ("images", "cache-create", "--images", "-", *("--registry-ca", "{}"))),
    ("file", ("images", "cache-create", "--images", "-", *("--registry-auth", "{}"))),
    ("folder", ("images", "cache-create", "--images", "-", *("--registry-hosts", "{}"))),
    ("folder", ("secureboot-iso", "--secureboot-dir", "{}", "--output", "out")),
    ("folder", ("iso", "--assets", "{}", "--output", "out")),
    ("folder", ("images", "cache-cert-gen", "--advertised-name", "x", "--tls-ca-file", "{}/ca")),
    ("file", ("images", "list", "--from", "{}")),
    ("folder", ("images", "list", "--from", "{}")),
    ("folder", ("node", "status", "--state", "{}/state")),
)


@pytest.fixture
def opened(site: Site) -> Iterator[Site]:
    """Give the site one of everything, which every user may read."""
    flat = site.flat()
    (site.folder / "blob").hardlink_to(flat.blobs[0])
    (site.folder / "file").write_text("registry.example/a:v1\n")
    (site.folder / "folder").mkdir()
    site.out.chmod(0o777)
    yield site
    for path in site.folder.iterdir():
        path.chmod(0o755)


@pytest.mark.parametrize(("closed", "command"), CLOSED)
def test_what_may_not_be_read(opened: Site, closed: str, command: tuple[str, ...]) -> None:
    place = opened.folder / closed
    arguments = [word.format(place) for word in command]
    if "cache-create" in arguments:
        arguments += ["--image-cache-path", str(opened.out / "cache")]
    place.chmod(0)
    prefix = AS_NOBODY if ROOT else ()
    done = run(*arguments, prefix=prefix, env=opened.env, cwd=opened.folder, stdin="x.io/a:v1\n")
    assert done.returncode == HOST, done.stderr
    assert "Traceback" not in done.stderr
    assert "ermission" in done.stderr or "not writable" in done.stderr
    assert done.stderr.count("error: ") == done.stderr.count("hint: ") == 1


def test_the_hint_says_who_it_is(opened: Site) -> None:
    profile = opened.folder / "file"
    profile.chmod(0)
    prefix = AS_NOBODY if ROOT else ()
    done = run(profile, "--output", opened.out, prefix=prefix, cwd=opened.folder)
    user = NOBODY if ROOT else subprocess.check_output(["id", "-u"], text=True).strip()
    check_error(done, HOST, "Permission denied", hint=f"user {user} needs permission")


def test_the_doctor_says_that_it_needs_root(site: Site) -> None:
    config = site.folder / "machine.yaml"
    config.write_text("machine: {}\n")
    prefix = AS_NOBODY if ROOT else ()
    done = run("node", "doctor", "--config", config, prefix=prefix, cwd=site.folder)
    check_error(done, HOST, "needs root", hint="sudo")


def test_an_output_at_a_device(site: Site) -> None:
    done = run(
        *("images", "cache-create", "--images", "-", "--image-cache-path", "/dev/sdz9"),
        stdin="x.io/a:v1\n",
        cwd=site.folder,
    )
    check_error(done, 2, "/dev is for devices", hint="with dd")
    assert not Path("/dev/sdz9").exists()
