"""What commands print as JSON and with --quiet, in this process."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from imager.cli.app import app
from imager.profile.names import builtin_names
from imager.support.errors import HostError
from tests.lib.caches.caches import make_flat

RIGHT = "machine:\n  features:\n    imageCache:\n      localEnabled: true\n"
WRONG = "machine:\n  features:\n    imageCache:\n      localEnabled: perhaps\n"


def answer(*arguments: str | Path, stdin: str = "") -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)], input=stdin)
    assert done.exit_code == 0, done.output
    return done.stdout


def value(*arguments: str | Path, stdin: str = "") -> Any:
    return json.loads(answer(*arguments, "--json", stdin=stdin))


def test_lists_are_printed_though_quiet(tmp_path: Path) -> None:
    images = answer("images", "default", "--quiet").split()
    assert value("images", "default") == {"images": images}
    assert len(images) > 5
    profiles = value("profiles", "-q")
    assert [each["name"] for each in profiles] == list(builtin_names())
    assert all(each["name"] in answer("profiles") for each in profiles)
    assert value("profile", "show", "metal")["output"]["kind"] == "image"
    listed = value("assets", "list", "--assets", tmp_path)
    assert {each["name"] for each in listed["assets"]} >= {"vmlinuz", "initramfs.xz"}
    assert listed["places"] == [{"path": str(tmp_path), "state": "used"}]
    assert str(tmp_path) in answer("assets", "list", "--assets", tmp_path, "-q")


def test_checks_that_find_nothing_are_silent(tmp_path: Path) -> None:
    cache = make_flat(tmp_path / "cache", images=1).folder
    assert answer("images", "cache-verify", cache, "-q") == ""
    assert answer("images", "cache-diff", cache, cache, "-q") == ""
    assert answer("config", "check", "-", "-q", stdin=RIGHT) == ""
    found = value("config", "check", "-", stdin=RIGHT)
    assert (found["ok"], found["imageCache"], found["problems"]) == (True, True, [])


def test_a_check_that_fails_has_json_too() -> None:
    done = CliRunner().invoke(app, ["config", "check", "-", "--json"], input=WRONG)
    assert done.exit_code != 0
    found = json.loads(done.stdout)
    assert found["ok"] is False
    assert found["problems"]


def test_changes_of_a_cache(tmp_path: Path) -> None:
    made = make_flat(tmp_path / "cache", images=2)
    (tmp_path / "remove").write_text(made.references[0])
    arguments = ("images", "cache-prune", made.folder, "--remove", tmp_path / "remove")
    dry = value(*arguments, "--dry-run")
    assert dry["removed"] == [made.references[0]]
    assert dry["changed"] is False
    assert made.references[0] in answer(*arguments, "--dry-run", "--quiet")
    assert answer(*arguments, "--quiet") == ""
    assert answer("images", "cache-info", made.folder, "-q").count("team/img") == 1


def test_keys_and_certificates(tmp_path: Path) -> None:
    made = value(
        *("images", "cache-cert-gen", "--advertised-name", "cache.example"),
        *("--tls-ca-file", tmp_path / "ca.crt", "--tls-ca-key-file", tmp_path / "ca.key"),
        *("--tls-cert-file", tmp_path / "it's.crt", "--tls-key-file", tmp_path / "tls.key"),
    )
    assert "cache.example" in made["names"]
    assert Path(made["certificate"]).is_file()


@pytest.mark.parametrize("words", [(), ("images",), ("node",)])
def test_a_group_alone_shows_its_help(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*words])
    assert done.exit_code == 2
    assert done.stdout == ""
    assert re.match(r"Usage: [a-z ]*\[OPTIONS\] COMMAND", done.stderr)


def test_the_doctor_needs_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "machine.yaml").write_text(RIGHT)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = CliRunner().invoke(app, ["node", "doctor", "--config", str(tmp_path / "machine.yaml")])
    assert isinstance(done.exception, HostError)
    assert "needs root" in done.exception.message
