"""The pinned packages in requirements/ are those that pyproject.toml asks for, with hashes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
PIN = re.compile(r"^([a-z0-9-]+)==(\S+?)(?: ;[^\\]+)? \\$", re.MULTILINE)
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")


def requirements(name: str) -> list[Requirement]:
    """Return what the lock `name` must satisfy."""
    if name == "build":
        lines = (REPOSITORY / "requirements/build.in").read_text().split()
    else:
        project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
        lines = [*project["dependencies"]]
        lines += project["optional-dependencies"]["dev"] if name == "dev" else []
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("name", ["build", "run", "dev"])
def test_lock_pins_every_requirement_with_hashes(name: str) -> None:
    text = (REPOSITORY / f"requirements/{name}.lock").read_text()
    pins = dict(PIN.findall(text))
    for requirement in requirements(name):
        pinned = pins.get(canonicalize_name(requirement.name))
        assert pinned, f"{requirement}: not in {name}.lock; run `make lock`"
        assert requirement.specifier.contains(pinned), f"{requirement}: {pinned} is pinned"
    for line in text.splitlines():
        assert not line or line.startswith("#") or HASH.match(line) or PIN.match(line), line


def test_development_uses_the_packages_that_users_get() -> None:
    run, dev = (
        dict(PIN.findall((REPOSITORY / f"requirements/{name}.lock").read_text()))
        for name in ("run", "dev")
    )
    assert run.items() <= dev.items()
