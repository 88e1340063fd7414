"""The pipelines that the project shows, run as their runners run them, with their own shells."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.lib.tools.cli import REPOSITORY, environment

TEKTON = REPOSITORY / "docs/pipelines/tekton-task.yaml"
_GITLAB = REPOSITORY / "docs/pipelines/gitlab-ci.yml"
_MAKEFILE = REPOSITORY / "docs/pipelines/Makefile"
_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Inputs:
    """What every pipeline is given; `key` is the path of a private key, `images` a list's."""

    assets: Path
    images: str
    options: str
    key: Path
    reference: str

    def variables(self) -> dict[str, str]:
        """Return them as the variables that GitLab's template and the Makefile have."""
        return {
            "ASSETS": str(self.assets),
            "IMAGES": self.images,
            "OPTIONS": self.options,
            "SIGN_KEY": str(self.key),
            "REFERENCE": self.reference,
        }


def run_make(folder: Path, inputs: Inputs) -> str:
    """Run the Makefile's `publish`; return the reference that it printed."""
    given = [f"{name}={value}" for name, value in inputs.variables().items()]
    said = _run(["make", "-f", _MAKEFILE, *given, "publish"], folder, {})
    return next(line for line in said.splitlines() if line.startswith(inputs.reference))


def run_gitlab(folder: Path, inputs: Inputs) -> str:
    """Run the script of GitLab's job in one shell, with variables as GitLab gives them."""
    template = yaml.safe_load(_GITLAB.read_text())
    login = {"CI_REGISTRY": "ci.local", "CI_REGISTRY_USER": "ci", "CI_REGISTRY_PASSWORD": "x"}
    given = {**template["variables"], **inputs.variables(), **login, "CI_JOB_URL": "urn:ci:1"}
    script = "\n".join(template["imager"]["script"])
    _run(["sh", "-c", f"set -e\n{script}"], folder, given)
    name, _, published = (folder / "publish.env").read_text().strip().partition("=")
    assert name == "IMAGER_REFERENCE"
    return published


def run_tekton(folder: Path, inputs: Inputs) -> str:
    """Run the steps of the Task, each in a process of its own; return its result `reference`."""
    spec = yaml.safe_load(TEKTON.read_text())["spec"]
    results = folder.with_name(f"{folder.name}-results")
    results.mkdir(exist_ok=True)
    values = {f"params.{each['name']}": each.get("default") for each in spec["params"]} | {
        "params.assets": str(inputs.assets),
        "params.images": inputs.images,
        "params.options": inputs.options,
        "params.reference": inputs.reference,
        "workspaces.source.path": str(folder),
        "workspaces.sign-key.bound": "true",
        "workspaces.sign-key.path": str(inputs.key.parent),
        "workspaces.registry-auth.bound": "false",
        "workspaces.registry-auth.path": "",
        "context.taskRun.namespace": "default",
        "context.taskRun.uid": "1234",
        **{f"results.{each['name']}.path": str(results / each["name"]) for each in spec["results"]},
    }

    def replaced(text: str) -> str:
        return re.sub(r"\$\(([a-z][\w-]*\.[\w.-]+)\)", lambda found: str(values[found[1]]), text)

    for step in spec["steps"]:
        env = {
            each["name"]: replaced(each["value"])
            for each in (*spec["stepTemplate"]["env"], *step.get("env", ()))
        }
        script = results / f"{step['name']}.sh"
        script.write_text(replaced(step["script"]))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        _run([script], Path(replaced(spec["stepTemplate"]["workingDir"])), env)
    return (results / "reference").read_text()


def run_github(folder: Path, inputs: Inputs) -> str:
    """Run the steps of the action but for the first, which installs; return its `reference`."""
    action = yaml.safe_load((REPOSITORY / "action.yml").read_text())
    temporary = folder.with_name(f"{folder.name}-runner")
    temporary.mkdir(exist_ok=True)
    given = {f"inputs.{name}": each.get("default") for name, each in action["inputs"].items()} | {
        "inputs.assets": str(inputs.assets),
        "inputs.images": inputs.images,
        "inputs.options": inputs.options,
        "inputs.sign-key": inputs.key.read_text(),
        "inputs.reference": inputs.reference,
    }
    first, *steps = action["runs"]["steps"]
    assert first["name"] == "Install"
    for step in steps:
        assert step.get("if", "inputs.reference != ''") == "inputs.reference != ''"
        values = {name: _expanded(text, given) for name, text in step["env"].items()}
        given |= _run_step(step, folder, temporary, values)
    assert not [path for path in temporary.iterdir() if path.suffix == ".pem"]
    return _expanded(action["outputs"]["reference"]["value"], given)


def _run_step(
    step: Mapping[str, Any], folder: Path, temporary: Path, values: Mapping[str, str]
) -> dict[str, str]:
    """Run a step of an action as GitHub's runner does; return its outputs by expression."""
    script, outputs = temporary / "step.sh", temporary / "outputs"
    script.write_text(step["run"])
    outputs.write_text("")
    env = {
        "RUNNER_TEMP": str(temporary),
        "GITHUB_OUTPUT": str(outputs),
        "GITHUB_STEP_SUMMARY": str(temporary / "summary"),
        "GITHUB_SERVER_URL": "https://github.local",
        "GITHUB_REPOSITORY": "a/b",
        "GITHUB_RUN_ID": "1",
        **values,
    }
    # https://docs.github.com/actions/reference/workflow-syntax: `shell: bash`
    _run([step["shell"], "--noprofile", "--norc", "-eo", "pipefail", script], folder, env)
    lines = [line.partition("=") for line in outputs.read_text().splitlines()]
    return {f"steps.{step.get('id')}.outputs.{name}": value for name, _, value in lines}


def _expanded(text: str, values: Mapping[str, str | None]) -> str:
    return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: str(values[found[1]]), text)


def _run(argv: list[str | Path], folder: Path, env: Mapping[str, str]) -> str:
    programs = folder.with_name(f"{folder.name}-bin")
    programs.mkdir(exist_ok=True)
    program = programs / "imager"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m imager "$@"\n')
    program.chmod(0o755)
    base = environment()
    path = f"{programs}{os.pathsep}{base['PATH']}"
    done = subprocess.run(
        argv,
        cwd=folder,
        env={**base, **env, "PATH": path},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def task_schema(crd: Path) -> dict[str, Any]:
    """Return the JSON schema of Tasks, v1, from Tekton's definition of the resource.

    The API server drops fields that it does not know; here they are wrong.
    """
    versions = yaml.safe_load(crd.read_text())["spec"]["versions"]
    found = next(each for each in versions if each["name"] == "v1")
    schema: dict[str, Any] = json.loads(json.dumps(found["schema"]["openAPIV3Schema"]))
    # The API server's own fields, which the definition leaves to it.
    schema["properties"]["metadata"]["x-kubernetes-preserve-unknown-fields"] = True
    _close(schema)
    return schema


def _close(schema: Any) -> None:
    if isinstance(schema, list):
        for each in schema:
            _close(each)
    elif isinstance(schema, dict):
        for each in schema.values():
            _close(each)
        is_open = schema.get("x-kubernetes-preserve-unknown-fields")
        if isinstance(schema.get("properties"), dict) and "type" in schema and not is_open:
            schema.setdefault("additionalProperties", False)
