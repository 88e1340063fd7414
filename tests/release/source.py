"""What a release is made of: one commit, and nothing else of the checkout."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

PLATFORMS = "linux/amd64,linux/arm64"


@dataclass(frozen=True, slots=True)
class Source:
    """The files of a commit in `folder`; `epoch` is the time of the release, of the commit if none.

    `origin` is the URI of the repository.
    """

    folder: Path
    commit: str
    epoch: int
    origin: str

    @property
    def version(self) -> str:
        """The version of imager in pyproject.toml."""
        project = tomllib.loads((self.folder / "pyproject.toml").read_text())["project"]
        return str(project["version"])

    @property
    def environment(self) -> dict[str, str]:
        """The environment that the packages and the image are built in."""
        return {**os.environ, "SOURCE_DATE_EPOCH": str(self.epoch)}


def export(checkout: Path, folder: Path, *, origin: str) -> Source:
    """Put the files of the newest commit of `checkout` into `folder`.

    SOURCE_DATE_EPOCH is the time of the release if it is set.
    """
    archive = _git(checkout, "archive", "--format=tar", "HEAD")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    commit, _, committed = _git(checkout, "show", "-s", "--format=%H %ct").decode().partition(" ")
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or committed)
    return Source(folder, commit, epoch, origin)


def build_packages(source: Source, folder: Path) -> None:
    """Write the wheel and the source distribution to `folder`; their bytes depend on the commit."""
    hatchling = Path(sys.executable).with_name("hatchling")
    subprocess.run(
        [hatchling, "build", "-d", folder.resolve()],
        cwd=source.folder,
        env=source.environment,
        stdout=subprocess.DEVNULL,
        check=True,
    )


def require_buildx() -> None:
    """Exit if docker buildx is not there, which `build_image` needs."""
    command = ("docker", "buildx", "version")
    found = shutil.which("docker") and subprocess.run(command, capture_output=True, check=False)
    if not found or found.returncode:
        raise SystemExit("the container image needs docker buildx: install it, or give IMAGE=no")


def build_image(source: Source, folder: Path) -> None:
    """Write the container image for both architectures as an OCI archive, by docker buildx.

    Needs a builder that can run both: a `docker-container` one, with QEMU for what the machine is
    not. Debian's packages in it are those of the day.
    """
    target = folder.resolve() / f"imager-{source.version}-image.tar"
    arguments = {
        "SOURCE_DATE_EPOCH": str(source.epoch),
        "VERSION": source.version,
        "REVISION": source.commit,
        "SOURCE": source.origin,
        **({"BASE_IMAGE": base} if (base := os.environ.get("BASE_IMAGE")) else {}),
    }
    given = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    output = f"--output=type=oci,dest={target},rewrite-timestamp=true"
    build = ("docker", "buildx", "build", f"--platform={PLATFORMS}", "--provenance=false", output)
    subprocess.run([*build, *given, str(source.folder)], env=source.environment, check=True)


def _git(checkout: Path, *arguments: str) -> bytes:
    return subprocess.run(
        ["git", "-C", checkout, *arguments], stdout=subprocess.PIPE, check=True
    ).stdout
