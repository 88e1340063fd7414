"""`python -m tests.mutants [WORD...]`: break the code in a copy, and see that tests go red.

Every mutant runs in a copy of the tree that stands first on the module path. The tests must be
green on an unbroken copy first; then each mutant must make its tests fail, by a failed test and
not by an import that breaks. With words, only mutants that name one of them are run. The exit
code is 0 when none survives.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import cache_from_source
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.bootloaders import BOOTLOADERS
from tests.mutants.caches import CACHES
from tests.mutants.clients import CLIENTS
from tests.mutants.commands import COMMANDS
from tests.mutants.connections import CONNECTIONS
from tests.mutants.definitions import MUTANTS, Mutant
from tests.mutants.display import DISPLAY
from tests.mutants.grub import GRUB
from tests.mutants.image_listing import IMAGE_LISTING
from tests.mutants.keeping import KEEPING
from tests.mutants.machineconfig import MACHINE_CONFIG
from tests.mutants.measured import MEASURED
from tests.mutants.node import NODE
from tests.mutants.node_assets import NODE_ASSETS
from tests.mutants.node_disks import NODE_DISKS
from tests.mutants.node_reads import NODE_READS
from tests.mutants.node_run import NODE_RUN
from tests.mutants.odd_images import ODD_IMAGES
from tests.mutants.options import OPTIONS
from tests.mutants.pulling import PULLING
from tests.mutants.pushing import PUSHING
from tests.mutants.readers import READERS
from tests.mutants.registries import REGISTRY_MUTANTS
from tests.mutants.serving import SERVING
from tests.mutants.signatures import SIGNATURES
from tests.mutants.signing import SIGNING
from tests.mutants.sticks import STICKS
from tests.mutants.verifying import VERIFYING
from tests.mutants.volumes import VOLUMES

REPOSITORY = Path(__file__).resolve().parents[2]
ALL = (
    *MUTANTS,
    *BOOTLOADERS,
    *CLIENTS,
    *COMMANDS,
    *DISPLAY,
    *GRUB,
    *CONNECTIONS,
    *IMAGE_LISTING,
    *CACHES,
    *KEEPING,
    *MACHINE_CONFIG,
    *MEASURED,
    *NODE,
    *NODE_ASSETS,
    *NODE_DISKS,
    *NODE_READS,
    *NODE_RUN,
    *ODD_IMAGES,
    *OPTIONS,
    *PULLING,
    *PUSHING,
    *READERS,
    *REGISTRY_MUTANTS,
    *SERVING,
    *SIGNATURES,
    *STICKS,
    *SIGNING,
    *VERIFYING,
    *VOLUMES,
)
COPIED = ("imager", "tests", "profiles", "pyproject.toml")
WORKERS = 2
TIMEOUT = 300
_CONTROL_TIMEOUT = 1200
_TESTS_FAILED = 1  # of pytest's exit codes
_WHERE = "import imager, tests.mutants; print(imager.__file__, tests.mutants.__file__, sep='\\n')"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a mutant: `problem` is empty when the tests noticed it."""

    mutant: Mutant
    seconds: float
    problem: str


def main(words: Sequence[str]) -> int:
    """Run the mutants that `words` select; return the exit code."""
    mutants = [mutant for mutant in ALL if _selected(mutant, words)]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="imager-mutants-") as folder:
        trees = [_copy(Path(folder, str(number))) for number in range(WORKERS)]
        problem = _control(trees, mutants)
        if problem:
            _say(problem)
            return 2
        outcomes = list(_outcomes(trees, mutants))
    failed = [outcome for outcome in outcomes if outcome.problem]
    for outcome in failed:
        _say(f"not noticed:\n{_line(outcome)}")
    seconds = time.monotonic() - started
    _say(f"{len(outcomes) - len(failed)} of {len(outcomes)} mutants noticed in {seconds:.0f} s")
    return 1 if failed or not outcomes else 0


def _selected(mutant: Mutant, words: Sequence[str]) -> bool:
    return not words or any(word in f"{mutant.file} {mutant.what}" for word in words)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _copy(tree: Path) -> Path:
    tree.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", ".hypothesis")
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=ignore)
        else:
            shutil.copy2(source, tree / name)
    return tree


def _environment(tree: Path) -> dict[str, str]:
    assets = os.environ.get("IMAGER_ASSETS") or str(REPOSITORY / ".cache" / "assets")
    changes = {"PYTHONPATH": str(tree), "IMAGER_ASSETS": assets}
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return kept | changes


def _python(
    tree: Path, *arguments: str, seconds: float = TIMEOUT
) -> subprocess.CompletedProcess[str]:
    """Run Python in a copy of the tree; the copy is what it imports."""
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=tree,
        env=_environment(tree),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def _pytest(
    tree: Path, tests: Iterable[str], *, seconds: float = TIMEOUT
) -> subprocess.CompletedProcess[str]:
    options = ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider")
    return _python(tree, *options, *tests, seconds=seconds)


def _control(trees: Sequence[Path], mutants: Sequence[Mutant]) -> str:
    """Return what is wrong with the unbroken copies, empty when all is well."""
    for tree in trees:
        places = _python(tree, "-c", _WHERE).stdout.split()
        if len(places) != 2 or not all(Path(place).is_relative_to(tree) for place in places):
            return f"a copy in {tree} imports {places}"
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    shares = [tests[number :: len(trees)] for number in range(len(trees))]
    with ThreadPoolExecutor(len(trees)) as pool:
        try:
            run = partial(_pytest, seconds=_CONTROL_TIMEOUT)
            for done in pool.map(run, trees, filter(None, shares)):
                if done.returncode != 0:
                    return f"the tests fail without a mutant:\n{done.stdout[-3000:]}"
        except subprocess.TimeoutExpired:
            return f"the tests take longer than {_CONTROL_TIMEOUT} s without a mutant"
    return ""


def _outcomes(trees: Sequence[Path], mutants: Sequence[Mutant]) -> Iterator[Outcome]:
    free: SimpleQueue[Path] = SimpleQueue()
    for tree in trees:
        free.put(tree)

    def run(mutant: Mutant) -> Outcome:
        tree = free.get()
        started = time.monotonic()
        try:
            problem = _problem(tree, mutant)
        finally:
            free.put(tree)
        return Outcome(mutant, time.monotonic() - started, problem)

    with ThreadPoolExecutor(len(trees)) as pool:
        for outcome in pool.map(run, mutants):
            _say(_line(outcome))
            yield outcome


def _line(outcome: Outcome) -> str:
    verdict = outcome.problem or "noticed"
    place = outcome.mutant.file.removeprefix("imager/")
    return f"{outcome.seconds:5.1f} s  {verdict:<9}  {place:<26} {outcome.mutant.what}"


def _problem(tree: Path, mutant: Mutant) -> str:
    """Return why a mutant counts as not noticed, empty when it was."""
    try:
        with _applied(tree, mutant):
            done = _pytest(tree, mutant.tests)
    except subprocess.TimeoutExpired:
        return "HANGS"
    except LookupError as error:
        return f"STALE ({error})"
    if done.returncode == _TESTS_FAILED:
        return ""
    return "SURVIVED" if done.returncode == 0 else f"BROKEN\n{done.stdout[-1500:]}"


@contextmanager
def _applied(tree: Path, mutant: Mutant) -> Iterator[None]:
    path = tree / mutant.file
    text = path.read_text("utf-8")
    count = text.count(mutant.old)
    if count != 1:
        raise LookupError(f"its text stands {count} times")
    # A change of the same size in the same second would not be recompiled.
    compiled = Path(cache_from_source(str(path)))
    try:
        path.write_text(text.replace(mutant.old, mutant.new), "utf-8")
        compiled.unlink(missing_ok=True)
        yield
    finally:
        path.write_text(text, "utf-8")
        compiled.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
