"""What a child does: become as a Python that was started afresh in a tree, run tests, tell."""

from __future__ import annotations

import importlib
import json
import os
import random
import sys
import tempfile
import traceback
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

OBSERVED = "observed.json"
_OWN = ("imager", "tests")
_REPOSITORY = Path(__file__).resolve().parents[2]
# pytest's plugins have been imported: their own assertions do not matter here.
_WARM = "ignore::pytest.PytestAssertRewriteWarning"
# The same examples of hypothesis in each run: a break is noticed always or never.
_OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", "-W", _WARM)


@dataclass(frozen=True, slots=True)
class Failure:
    """A test that is red: `phase` is setup, call or teardown; `error` the name of the exception."""

    test: str
    phase: str
    error: str


@dataclass(frozen=True, slots=True)
class Observed:
    """What a child tells: pytest's exit code, and what was red.

    `libraries` are the modules of others that the tests imported, `strangers` the files of
    modules of ours that are not the tree's.
    """

    code: int
    failures: tuple[Failure, ...]
    libraries: tuple[str, ...]
    strangers: tuple[str, ...]


def read_observed(folder: Path) -> Observed | None:
    """Return what the child of `folder` told, None when it did not come to that."""
    try:
        told = json.loads((folder / OBSERVED).read_text())
    except FileNotFoundError:
        return None
    told["failures"] = tuple(Failure(**failure) for failure in told["failures"])
    return Observed(**{**told, **{key: tuple(told[key]) for key in ("libraries", "strangers")}})


def observe(tree: Path, tests: Sequence[str], temporary: Path) -> Observed:
    """Run `tests` with the modules of `tree`, up to the first that is red."""
    _start_afresh(tree, temporary)
    plugin = _Observer()
    try:
        code = int(pytest.main([*_OPTIONS, f"--rootdir={tree}", *tests], plugins=[plugin]))
    except Exception:
        # What pytest finds at its very end, such as a file that a failed test left open.
        traceback.print_exc()
        code = pytest.ExitCode.INTERNAL_ERROR
    libraries, strangers = _imported(tree)
    return Observed(code, tuple(plugin.failures), libraries, strangers)


def tell(observed: Observed, folder: Path) -> None:
    """Write what `read_observed` reads."""
    (folder / OBSERVED).write_text(json.dumps(asdict(observed)))


def _start_afresh(tree: Path, temporary: Path) -> None:
    """Forget all modules of ours; let this process and its children import those of `tree`."""
    for name in [name for name in sys.modules if name.partition(".")[0] in _OWN]:
        del sys.modules[name]
    sys.path[:] = [str(tree), *(path for path in sys.path if Path(path) != _REPOSITORY)]
    importlib.invalidate_caches()
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.setdefault("IMAGER_ASSETS", str(_REPOSITORY / ".cache" / "assets"))
    os.environ.setdefault("IMAGER_TOOLS", str(_REPOSITORY / ".cache" / "tools"))
    os.environ |= {
        "PYTHONPATH": str(tree),
        "TMPDIR": str(temporary),
        "IMAGER_TEST_TIMEOUT": "20",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(temporary / "hypothesis"),
    }
    tempfile.tempdir = None
    random.seed()
    os.chdir(tree)


def _imported(tree: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    libraries, strangers = [], []
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] not in _OWN:
            if getattr(module, "__spec__", None) and not (file or "").startswith(str(tree)):
                libraries.append(name)
        elif file and not Path(file).is_relative_to(tree):
            strangers.append(file)
    return tuple(libraries), tuple(strangers)


@dataclass(slots=True)
class _Observer:
    """A plugin of pytest that keeps what was red."""

    failures: list[Failure] = field(default_factory=list)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.failed:
            error = call.excinfo.typename if call.excinfo else ""
            self.failures.append(Failure(item.nodeid, call.when, error))
        return report
