"""A release of imager: the same bytes from the same commit, and what foreign tools say of it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from imager import __version__
from tests.lib.caches.caches import sha256, tree_files
from tests.lib.tools.cli import REPOSITORY, environment, tool

pytestmark = pytest.mark.oracle

PACKAGED = ("imager", "profiles", "requirements", "pyproject.toml", "README.md", "CHANGELOG.md")
NAMES = {
    f"imager-{__version__}-py3-none-any.whl",
    f"imager-{__version__}.tar.gz",
    f"imager-{__version__}.cdx.json",
    f"imager-{__version__}.provenance.json",
    "RELEASE_NOTES.md",
}

# In the place of docker buildx, which few machines have: it writes down what it is told.
DOCKER = """\
#!/bin/sh
[ "$2" = build ] || exit 0
printf '%s\\n' "$@" > "$DOCKER_LOG"
for each; do
  case $each in --output=*) target=${each#*dest=}; echo image > "${target%%,*}";; esac
done
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with what is packaged, in one commit."""
    folder = tmp_path_factory.mktemp("source") / "imager"
    folder.mkdir()
    for name in (*PACKAGED, "LICENSE", "Dockerfile", ".gitignore"):
        if (REPOSITORY / name).is_dir():
            shutil.copytree(
                REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(REPOSITORY / name, folder)
    who = ("-c", "user.name=tester", "-c", "user.email=tester@example.org")
    tool("git", "-C", folder, "init", "--quiet")
    tool("git", "-C", folder, "add", "--all")
    tool("git", "-C", folder, *who, "commit", "--quiet", "-m", "All of it")
    return folder


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key.pem"
    tool("openssl", "ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out", path)
    return path


def release(
    folder: Path,
    checkout: Path,
    key: Path,
    *options: str,
    env: Mapping[str, str] | None = None,
    umask: int = -1,
) -> dict[str, bytes]:
    """Make a release; return its files."""
    program = (sys.executable, "-m", "tests.release", folder, "--checkout", checkout)
    done = subprocess.run(
        [*program, "--sign-key", key, "--origin", "https://example.org/imager", *options],
        env=environment(env),
        umask=umask,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return tree_files(folder)


def test_a_release_depends_on_the_commit_alone(checkout: Path, key: Path, tmp_path: Path) -> None:
    made = release(tmp_path / "first", checkout, key, "--no-image")
    assert made.keys() == {*NAMES, *(f"{name}.sigstore.json" for name in NAMES), "SHA256SUMS"}

    other = tmp_path / "elsewhere"
    tool("git", "clone", "--quiet", checkout, other)
    (other / "imager/uncommitted.py").write_text("raise SystemExit\n")
    zone = {"TZ": "Asia/Tokyo", "LC_ALL": "C"}
    second = release(tmp_path / "second", other, key, "--no-image", env=zone, umask=0o077)
    assert second == made

    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    log = tmp_path / "docker.log"
    path = {"PATH": f"{docker.parent}{os.pathsep}{os.environ['PATH']}", "DOCKER_LOG": str(log)}
    later = {"SOURCE_DATE_EPOCH": "1700000000", **path}
    changed = release(tmp_path / "third", checkout, key, env=later)
    assert all(changed[name] != made[name] for name in NAMES - {"RELEASE_NOTES.md"})
    bill = json.loads(changed[f"imager-{__version__}.cdx.json"])
    assert bill["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"

    commit = tool("git", "-C", checkout, "rev-parse", "HEAD").strip()
    given = {"SOURCE_DATE_EPOCH=1700000000", f"VERSION={__version__}", f"REVISION={commit}"}
    arguments = {f"--build-arg={each}" for each in given}
    assert {*arguments, "--platform=linux/amd64,linux/arm64"} < {*log.read_text().splitlines()}
    image = f"imager-{__version__}-image.tar"
    assert changed.keys() == made.keys() | {image, f"{image}.sigstore.json"}
    statement = json.loads(changed[f"imager-{__version__}.provenance.json"])
    assert image in {each["name"] for each in statement["subject"]}


def test_foreign_tools_agree(checkout: Path, key: Path, tmp_path: Path) -> None:
    folder = tmp_path / "release"
    made = release(folder, checkout, key, "--no-image")
    tool("sh", "-c", f"cd {folder} && sha256sum --check --strict --quiet SHA256SUMS")
    bill = made[f"imager-{__version__}.cdx.json"].decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    # As pip reads the lock file.
    pinned = (checkout / "requirements/run.lock").read_text().splitlines()
    names = {line.partition("==")[0] for line in pinned if line[:1].isalnum()}
    components = json.loads(bill)["components"]
    assert {each["name"] for each in components if each["type"] == "library"} == names

    statement = json.loads(made[f"imager-{__version__}.provenance.json"])
    subjects = {each["name"]: each["digest"]["sha256"] for each in statement["subject"]}
    described = NAMES - {f"imager-{__version__}.provenance.json"}
    assert subjects == {name: sha256(made[name]) for name in described}
    commit = tool("git", "-C", checkout, "rev-parse", "HEAD").strip()
    origin = statement["predicate"]["buildDefinition"]["resolvedDependencies"][0]
    assert origin == {"uri": "https://example.org/imager", "digest": {"gitCommit": commit}}

    public = tmp_path / "key.pub"
    tool("openssl", "ec", "-in", key, "-pubout", "-out", public)
    wheel = f"imager-{__version__}-py3-none-any.whl"
    bundle = json.loads(made[f"{wheel}.sigstore.json"])
    signature = tmp_path / "signature"
    signature.write_bytes(base64.b64decode(bundle["messageSignature"]["signature"]))
    verify = ("openssl", "dgst", "-sha256", "-verify", public, "-signature", signature)
    tool(*verify, folder / wheel)

    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    tool("tar", "-C", unpacked, "-xf", folder / f"imager-{__version__}.tar.gz")
    (rebuilt,) = unpacked.iterdir()
    epoch = tool("git", "-C", checkout, "show", "-s", "--format=%ct").strip()
    hatchling = Path(sys.executable).with_name("hatchling")
    build = f"cd {rebuilt} && SOURCE_DATE_EPOCH={epoch} {hatchling} build -t wheel -d {tmp_path}"
    tool("sh", "-c", build)
    assert (tmp_path / wheel).read_bytes() == made[wheel]
