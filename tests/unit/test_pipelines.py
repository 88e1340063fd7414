"""The examples of pipelines: their schemas, and that nobody's input becomes part of a command."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.lib.tools.cli import REPOSITORY

ACTION = REPOSITORY / "action.yml"
GITLAB = REPOSITORY / "docs/pipelines/gitlab-ci.yml"
TEKTON = REPOSITORY / "docs/pipelines/tekton-task.yaml"


def check(schema: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Hold a file against one of SchemaStore's schemas, which check-jsonschema comes with."""
    program = (sys.executable, "-m", "check_jsonschema", "--no-cache")
    argv = (*program, "--builtin-schema", f"vendor.{schema}", path)
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("schema", "path", "old", "broken"),
    [
        ("github-actions", ACTION, "using: composite", "using: shell"),
        ("gitlab-ci", GITLAB, "dotenv: publish.env", "dotenv: {file: publish.env}"),
    ],
)
def test_it_meets_its_schema(
    schema: str, path: Path, old: str, broken: str, tmp_path: Path
) -> None:
    done = check(schema, path)
    assert done.returncode == 0, done.stdout
    changed = tmp_path / path.name
    changed.write_text(path.read_text().replace(old, broken))
    assert check(schema, changed).returncode == 1


def test_inputs_reach_commands_as_variables() -> None:
    """Text that a runner puts into a script would be read by the shell."""
    action = yaml.safe_load(ACTION.read_text())
    task = yaml.safe_load(TEKTON.read_text())
    scripts = [step["run"] for step in action["runs"]["steps"]]
    assert [text for text in scripts if "${{" in text] == []
    scripts = [step["script"] for step in task["spec"]["steps"]]
    inserted = {name for text in scripts for name in re.findall(r"\$\(([\w.-]+)\)", text)}
    assert inserted == {"results.sha256.path", "results.reference.path"}


def test_every_input_of_the_action_is_used() -> None:
    text = ACTION.read_text()
    used = set(re.findall(r"\binputs\.([\w-]+)", text))
    assert used == yaml.safe_load(text)["inputs"].keys()
