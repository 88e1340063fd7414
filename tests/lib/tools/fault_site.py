"""What the fault tests of the command line share: a site of inputs, and checks of errors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.lib.caches.caches import (
    CacheFixture,
    make_flat,
)
from tests.lib.tools.cli import Completed, run

ROOT = os.geteuid() == 0
NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
INPUT, UNSUPPORTED, HOST = 2, 3, 4


@dataclass(frozen=True, slots=True)
class Site:
    """A folder of its own, that every user may read: inputs, and an empty folder for outputs."""

    folder: Path

    @property
    def assets(self) -> Path:
        return self.folder / "assets"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def flat(self, name: str = "flat", *, images: int = 2, arch: str = "amd64") -> CacheFixture:
        return make_flat(self.folder / name, images=images, blob_size=20_000, arches=(arch,))

    def run(self, *args: str | Path, prefix: tuple[str, ...] = (), stdin: str = "") -> Completed:
        """Run `imager ARGS` with the assets and the output folder of the site."""
        common = ("--assets", self.assets, "--output", self.out)
        return run(*args, *common, prefix=prefix, stdin=stdin, env=self.env, cwd=self.folder)

    @property
    def env(self) -> Mapping[str, str]:
        return {"TMPDIR": str(self.folder / "tmp")}

    def snapshot(self) -> dict[str, int]:
        """Return every file and folder of the site, with its size."""
        return {
            path.relative_to(self.folder).as_posix(): path.stat().st_size if path.is_file() else -1
            for path in self.folder.rglob("*")
            if not path.is_symlink()
        }


def check_error(done: Completed, code: int, *words: str, hint: str = "") -> None:
    """Check an error's form: one message on standard error, nothing on standard output."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert sum(line.startswith("error: ") for line in lines) == 1
    for word in words:
        assert word in done.stderr, done.stderr
    if hint:
        hints = [line for line in lines if line.startswith("hint: ")]
        assert len(hints) == 1, done.stderr
        assert hint in hints[0]


def refused(site: Site, *args: str | Path, code: int = INPUT, stdin: str = "") -> Completed:
    """Run what must fail with `code`, and check that it changed nothing in the site."""
    before = site.snapshot()
    done = site.run(*args, stdin=stdin)
    assert site.snapshot() == before
    assert done.returncode == code, done.stderr
    return done
