"""What becomes of a child in which tests run, and what counts as noticed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_BROKEN = "imager/__init__.py"
_TEST = """
import os, subprocess, time
import pytest
from imager import VALUE

@pytest.fixture
def prepared():
    assert VALUE != 4

def test_value(prepared):
    if VALUE == 3:
        # Of a session of its own, and nobody's child soon.
        argv = ["sh", "-c", "sleep 999 & echo $! > $0", os.environ["PIDS"]]
        subprocess.run(argv, start_new_session=True)
        time.sleep(999)
    if VALUE == 5:
        os.kill(os.getpid(), 9)
    if VALUE == 6:
        import not_there
    assert VALUE == 1
"""
# In a process of its own: pytest-xdist's workers have threads, so that they cannot be forked.
_PROGRAM = """
import json, sys
from pathlib import Path
from tests.mutants.forking import Place, Task, run_tasks
from tests.mutants.mutant import Mutant
from tests.mutants.verdict import not_green, not_noticed

trees, tests = [Path(tree) for tree in sys.argv[1:3]], ("tests/test_small.py::test_value",)
places = [Place(tree, tree.parent / f"{tree.name}-left") for tree in trees]
[(_, report)] = run_tasks([Task(tests, 60)], places)
told = {"": not_green(report)}
mutants = [Mutant(new, "imager/__init__.py", "= 1", f"= {new}", *tests) for new in sys.argv[3:]]
limits = {"3": 2}
tasks = [Task(tests, limits.get(mutant.new[2:], 60), mutant) for mutant in mutants]
for task, report in run_tasks(tasks, places):
    told[task.mutant.what] = not_noticed(report)
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Run a small test in trees that are broken in all ways; return what is said of each."""
    folder = tmp_path_factory.mktemp("forking")
    trees = [folder / "first", folder / "second"]
    for tree in trees:
        for name, text in ((_BROKEN, "VALUE = 1\n"), ("tests/test_small.py", _TEST)):
            (tree / name).parent.mkdir(parents=True)
            (tree / name).write_text(text)
    values = ["1 + 0", "2", "3", "4", "5", "6", "unknown", ")"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PIDS": str(folder / "pids")}
    argv = [sys.executable, "-c", _PROGRAM, *map(str, trees), *values]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, str] = json.loads(done.stdout)
    assert set(result) == {"", *values}
    # Nothing stays, nothing runs on.
    kept = {path.name for tree in trees for path in Path(f"{tree}-left").iterdir()}
    assert kept == {"observed.json", "output"}
    assert [(tree / _BROKEN).read_text() for tree in trees] == ["VALUE = 1\n"] * 2
    pid = int((folder / "pids").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    return result


def test_unbroken_code_is_green(told: dict[str, str]) -> None:
    assert told[""] == ""


def test_a_test_that_fails_notices(told: dict[str, str]) -> None:
    assert told["2"] == ""


def test_a_test_that_passes_does_not(told: dict[str, str]) -> None:
    assert told["1 + 0"] == "SURVIVED"


def test_a_test_that_hangs_does_not_and_is_told_where(told: dict[str, str]) -> None:
    assert told["3"].startswith("HANGS\n")
    line = _TEST[: _TEST.index("time.sleep")].count("\n") + 1
    assert f"test_small.py:{line}: KeyboardInterrupt" in told["3"]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("4", "AssertionError"),
        ("5", ""),
        ("6", "ModuleNotFoundError"),
        ("unknown", "NameError"),
        (")", "SyntaxError"),
    ],
)
def test_neither_does_what_is_no_failure_of_a_test(
    told: dict[str, str], value: str, why: str
) -> None:
    assert told[value].startswith("BROKEN\n")
    assert why in told[value]
