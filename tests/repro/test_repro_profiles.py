"""Every profile gives the same bytes in two processes with nothing but the inputs in common."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from imager import builtin_profiles
from tests.lib.tools.all_profiles import ARCHES, FLAT, GZIP, make_site
from tests.lib.tools.cli import IMAGER, environment

NOBODY = 65534
SECONDS = 900


@dataclass(frozen=True, slots=True)
class Circumstance:
    """A process that builds, in a folder of its own, with inputs at a place of their own."""

    folder: Path
    site: Path
    cache: str
    umask: int
    env: Mapping[str, str]
    prefix: tuple[str, ...] = ()

    def build_all(self) -> dict[str, Any]:
        """Build everything; return what the process prints."""
        folders = {name: self.folder / name for name in ("output", "temporary", "home")}
        env = {"TMPDIR": str(folders["temporary"]), "HOME": str(folders["home"]), **self.env}
        for folder in folders.values():
            folder.mkdir()
            folder.chmod(0o777)
        program = [IMAGER[0], "-m", "tests.lib.tools.all_profiles"]
        done = subprocess.run(
            [*self.prefix, *program, self.site, self.cache, folders["output"]],
            cwd=folders["temporary"],
            env=environment(env),
            umask=self.umask,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert not [*folders["temporary"].iterdir(), *folders["output"].iterdir()]
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def copy_otherwise(source: Path, target: Path) -> None:
    """Copy a folder: with other times, modes and owners, and its entries in the other order."""
    target.mkdir()
    for path in sorted(source.iterdir(), reverse=True):
        copy = target / path.name
        if path.is_symlink():
            copy.symlink_to(path.readlink())
        elif path.is_dir():
            copy_otherwise(path, copy)
        else:
            shutil.copyfile(path, copy)
            copy.chmod(0o400)
            os.utime(copy, (500_000_000, 500_000_000))
            if os.geteuid() == 0:
                os.chown(copy, NOBODY, NOBODY)


@pytest.fixture
def here() -> Iterator[Circumstance]:
    """This user, all processors, a cache as a folder."""
    with tempfile.TemporaryDirectory(prefix="test-") as name:
        folder = Path(name)
        env = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONHASHSEED": "77"}
        site = make_site(folder / "site")
        yield Circumstance(folder, site, FLAT, 0, {"TZ": "America/New_York", **env})


@pytest.fixture
def abroad(here: Circumstance) -> Iterator[Circumstance]:
    """Nobody, if this user may become that, in three years; one processor, a cache in gzip."""
    prefix: tuple[str, ...] = ("taskset", "-c", "0", "faketime", "-f", "+1100d")
    if os.geteuid() == 0:
        prefix += ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    with tempfile.TemporaryDirectory(prefix="elsewhere ", dir="/dev/shm") as name:
        folder = Path(name)
        folder.chmod(0o755)
        copy_otherwise(here.site, folder / "Eingänge")
        env = {"LC_ALL": "tr_TR.UTF-8", "LANGUAGE": "tr", "PYTHONHASHSEED": "1"}
        env |= {"TZ": "Pacific/Kiritimati", "PYTHONOPTIMIZE": "2"}
        yield Circumstance(folder, folder / "Eingänge", GZIP, 0o077, env, prefix)


def test_every_profile_gives_the_same_bytes(here: Circumstance, abroad: Circumstance) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(Circumstance.build_all, (here, abroad))
    # Else a variable or a prefix without an effect would show nothing.
    alike = first["circumstances"].items() & second["circumstances"].items()
    assert {name for name, _ in alike} <= ({"user"} if os.geteuid() else set())
    profiles = {f"{name} {arch}" for name in builtin_profiles() for arch in ARCHES}
    assert profiles < first["outputs"].keys()
    assert len({*first["outputs"].values()}) == len(first["outputs"])
    assert second["outputs"] == first["outputs"]
