"""The conformance tests of the OCI distribution specification, which `make conformance` builds.

https://github.com/opencontainers/distribution-spec/tree/main/conformance
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.lib.tools.cli import REPOSITORY

_TIMEOUT = 120
_SUITE = "OCI Distribution Conformance Tests "


@dataclass(frozen=True, slots=True)
class Verdict:
    """The names of tests, without what all of them begin with; one name may stand for several."""

    passed: tuple[str, ...]
    failed: tuple[str, ...]
    skipped: tuple[str, ...]


def conformance_program() -> Path:
    """Return where it is."""
    found = sorted(REPOSITORY.glob(".cache/tools/conformance-*/conformance"))
    assert found, "there are no conformance tests in .cache/tools: run `make conformance`"
    return found[-1]


def judge(url: str, repository: str, *, focus: str = ".", **settings: str) -> Verdict:
    """Run the tests on a repository of the registry at `url`.

    `settings` are those that the README of the tests tells, without `OCI_`; `focus` is a regular
    expression for the names of the tests to run.
    """
    chosen = {"OCI_ROOT_URL": url, "OCI_NAMESPACE": repository}
    chosen |= {f"OCI_{key}": value for key, value in settings.items()}
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OCI_")}
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        done = subprocess.run(
            [conformance_program(), f"-ginkgo.focus={focus}"],
            env={**kept, **chosen, "OCI_REPORT_DIR": folder},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        report = Path(folder, "junit.xml")
        assert report.exists(), done.stdout + done.stderr
        verdict = _read(report)
    assert done.returncode == (1 if verdict.failed else 0), done.stdout + done.stderr
    return verdict


def _read(report: Path) -> Verdict:
    found: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": []}
    for case in ElementTree.parse(report).iter("testcase"):
        _, suite, name = case.attrib["name"].partition(_SUITE)
        # What has another name writes the report.
        if suite:
            found.setdefault(case.attrib["status"], []).append(name)
    kinds = {kind: tuple(names) for kind, names in found.items()}
    return Verdict(**kinds)
