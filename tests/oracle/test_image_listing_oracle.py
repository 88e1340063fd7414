"""`imager images list`: compared with what jq finds, and given to `cache-create`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.lib.registries.registry import copy_image, make_layout, running_registry
from tests.lib.tools import cli

pytestmark = pytest.mark.oracle

SITE = cli.REPOSITORY / "tests/site"
# Every container of any object, and the volumes that are images.
QUERY = """
.. | objects
| ((.containers, .initContainers, .ephemeralContainers | arrays | .[].image),
   (.volumes | arrays | .[].image | objects | .reference))
| strings
"""
SHORT = {
    "nginx": "docker.io/library/nginx:latest",
    "busybox:1.37": "docker.io/library/busybox:1.37",
    "postgres:16.6-bookworm": "docker.io/library/postgres:16.6-bookworm",
    "valkey/valkey:8.0": "docker.io/valkey/valkey:8.0",
}


def found_by_jq(path: Path) -> set[str]:
    program = "jq" if path.suffix == ".json" else "yq"  # yq hands YAML, as JSON, to jq
    lines = cli.tool(program, "-r", QUERY, path).split()
    return {SHORT.get(line, line) for line in lines}


def is_in_pod(image: dict[str, list[dict[str, str]]]) -> bool:
    """Return whether a place of a listed image is one that the query has."""
    return any(
        re.search(r"ontainers\[\d+\]\.image$|image\.reference$", each["where"])
        for each in image["places"]
    )


@pytest.mark.parametrize("folder", ["apps", "kustomize", "system/operator.yaml"])
def test_jq_finds_the_same_images(folder: str) -> None:
    place = SITE / folder
    files = [place] if place.is_file() else [each for each in place.rglob("*.*") if each.is_file()]
    expected = set().union(*(found_by_jq(each) for each in files))
    done = cli.run("images", "list", "--from", place, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["images"]
    in_pods = [each["reference"] for each in found if is_in_pod(each)]
    assert in_pods == sorted(expected)


def test_the_list_is_one_that_cache_create_takes(tmp_path: Path) -> None:
    with running_registry(tmp_path / "registry") as registry:
        layout = make_layout(tmp_path / "layout")
        target = f"docker://{registry.host}/team/app:v1"
        copy_image(f"oci:{layout}:v1", target, "--dest-tls-verify=false")
        image = f"{registry.host}/team/app:v1"
        manifest = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"image": image}]}}
        done = cli.run("images", "list", "--from", "-", stdin=json.dumps(manifest))
        assert done.stdout == f"{image}\n"
        made = cli.run(
            "images", "cache-create", "--image-cache-path", tmp_path / "cache",
            "--images", "-", "--insecure", "--layout", "flat", stdin=done.stdout,
        )  # fmt: skip
    assert made.returncode == 0, made.stderr
    port = registry.host.rpartition(":")[2]
    assert (tmp_path / f"cache/manifests/127.0.0.1_{port}_/team/app/reference/v1").is_file()


def test_problems_end_with_code_2_and_nothing_on_standard_output() -> None:
    done = cli.run("images", "list", "--from", SITE / "apps/agent.yaml", "--from", "gone.yaml")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "error: manifests: 1 problem\n  gone.yaml: cannot be read: No such file or directory\n"
        "more: imager explain invalid-manifests\n"
    )


def test_warnings_go_to_standard_error() -> None:
    done = cli.run("image", "list", "--from", SITE / "talos")
    assert done.returncode == 0
    assert "warning" not in done.stdout
    assert done.stderr.count("warning: ") == 5
    refused = cli.run("images", "list", "--from", SITE / "talos", "--strict")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: manifests: 5 problems\n")
