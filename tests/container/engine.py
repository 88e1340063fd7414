"""A Docker engine for tests: the one that is there, or one of our own, started by hand.

Our own needs root and Debian's package docker.io. It has a socket, a data folder and a pid file
of its own, no bridge and no packet filter, so it touches nothing of the machine; containers in it
have no network, builds have the host's. It reaches no image registry, so the base image of the
Dockerfile is made from Debian's packages and imported under its name.
"""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import imager
from imager.bootassets.debian import SUITE
from imager.distro.apt import find_mirror
from imager.support.atomic import atomic_file
from tests.lib.tools.cli import REPOSITORY

BASE_IMAGE = f"debian:{SUITE}-slim"

_CACHE = REPOSITORY / ".cache/container"
_KEYS = Path(imager.__file__).parent / "distro/keys"
_RUNTIME = Path(__file__).with_name("runtime.py")
_DEFAULT_SOCKET = Path("/var/run/docker.sock")
# Another client, earlier on PATH, may have no BuildKit.
_DEBIAN_CLIENT = Path("/usr/bin/docker")
_BUILDKIT_BY_DEFAULT = 23
_START_SECONDS = 60
_STOP_SECONDS = 60
_RUN_SECONDS = 120
_BUILD_SECONDS = 1500
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
_NO_EXTRAS = tuple(
    f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale")
)
# On top of Debian's own image: how this machine reaches the package registries.
_LOCAL_BASE = f"""\
FROM {BASE_IMAGE}-plain
COPY ca.crt /etc/ssl/host-ca.crt
COPY pip.conf /etc/pip.conf
COPY apt.conf /etc/apt/apt.conf.d/99host
"""
_PIP_CONF = "[global]\ncert = /etc/ssl/host-ca.crt\n"
_APT_CONF = 'Acquire::https::CaInfo "/etc/ssl/host-ca.crt";\n'
_APT_OF_HOST = re.compile(r"^Acquire::(?:Check-|https?::Proxy).*;$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine, by its client and the environment that leads the client there."""

    client: Path
    environment: Mapping[str, str]

    @classmethod
    def at(cls, client: Path, host: str) -> Engine:
        """Return the engine that listens at `host`, an address as DOCKER_HOST has it."""
        environment = {key: value for key, value in os.environ.items() if key != "DOCKER_CONTEXT"}
        said = subprocess.run([client, "--version"], capture_output=True, text=True, check=True)
        version = re.search(r"version (\d+)", said.stdout)
        if version and int(version[1]) < _BUILDKIT_BY_DEFAULT:
            environment["DOCKER_BUILDKIT"] = "1"
        return cls(client, {**environment, "DOCKER_HOST": host})

    def docker(
        self,
        *arguments: str | Path,
        status: int | None = 0,
        stdin: str = "",
        seconds: float = _RUN_SECONDS,
    ) -> subprocess.CompletedProcess[str]:
        """Run `docker ARGUMENTS` to its end; its exit code must be `status`, if given."""
        done = subprocess.run(
            [self.client, *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        said = f"docker {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert status in (None, done.returncode), said
        return done

    def build(self, folder: Path, tag: str, *, arguments: Mapping[str, str] | None = None) -> None:
        """Build the Dockerfile of `folder` as image `tag`, with these build arguments."""
        given = [f"--build-arg={name}={value}" for name, value in (arguments or {}).items()]
        proxies = [f"--build-arg={name}" for name in _PROXIES if name in os.environ]
        options = ("--network=host", "--tag", tag, *given, *proxies)
        self.docker("build", *options, folder, seconds=_BUILD_SECONDS)


@contextmanager
def running_engine() -> Iterator[Engine]:
    """Yield an engine: that of DOCKER_HOST, else the machine's if it can get the base image.

    Else it is one of our own, which ends with the block.
    """
    client = _find_client()
    given = os.environ.get("DOCKER_HOST")
    if given:
        yield Engine.at(client, given)
        return
    machine = Engine.at(client, f"unix://{_DEFAULT_SOCKET}")
    if _DEFAULT_SOCKET.is_socket() and _gets_base_image(machine):
        yield machine
        return
    with _own_engine(client) as engine:
        _make_base_image(engine)
        yield engine


def _find_client() -> Path:
    if _DEBIAN_CLIENT.is_file():
        return _DEBIAN_CLIENT
    found = shutil.which("docker")
    assert found is not None, "apt-get install docker.io"
    return Path(found)


def _answers(engine: Engine) -> bool:
    return engine.docker("version", status=None).returncode == 0


def _gets_base_image(engine: Engine) -> bool:
    commands = (("image", "inspect", BASE_IMAGE), ("pull", BASE_IMAGE))
    return any(engine.docker(*command, status=None).returncode == 0 for command in commands)


@contextmanager
def _own_engine(client: Path) -> Iterator[Engine]:
    """Run dockerd until the block ends; all that it stored goes with it."""
    with tempfile.TemporaryDirectory(prefix="imager-engine-") as name:
        folder = Path(name)
        host = f"unix://{folder}/socket"
        engine = Engine.at(client, host)
        log = folder / "log"
        runtime = folder / "runtime"
        runtime.write_text(f'#!/bin/sh\nexec {sys.executable} {_RUNTIME} "$@"\n')
        runtime.chmod(0o755)
        with log.open("wb") as file:
            process = subprocess.Popen(
                [
                    *("dockerd", "--iptables=false", "--bridge=none"),
                    *("--host", host, "--pidfile", folder / "pid"),
                    *("--data-root", folder / "data", "--exec-root", folder / "exec"),
                    *("--add-runtime", f"here={runtime}", "--default-runtime=here"),
                ],
                stdout=file,
                stderr=file,
            )
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not _answers(engine):
                alive = process.poll() is None and time.monotonic() < deadline
                assert alive, f"dockerd did not start:\n{log.read_text()}"
                time.sleep(0.2)
            yield engine
        finally:
            process.terminate()
            process.wait(timeout=_STOP_SECONDS)
            _unmount_below(folder)


def _unmount_below(folder: Path) -> None:
    """Unmount what dockerd leaves behind: network namespaces."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in reversed([place for place in mounts if place.startswith(f"{folder}/")]):
        subprocess.run(["umount", place], check=True)


def _make_base_image(engine: Engine) -> None:
    plain = f"{BASE_IMAGE}-plain"
    engine.docker("import", _base_tarball(), plain)
    with tempfile.TemporaryDirectory(prefix="imager-base-") as name:
        folder = Path(name)
        (folder / "Dockerfile").write_text(_LOCAL_BASE)
        shutil.copyfile(_ca_bundle(), folder / "ca.crt")
        (folder / "pip.conf").write_text(_PIP_CONF)
        (folder / "apt.conf").write_text(_APT_CONF + _apt_settings())
        engine.build(folder, BASE_IMAGE)


def _base_tarball() -> Path:
    """Return a tarball of a small Debian, made at the first call and kept."""
    tarball = _CACHE / f"{SUITE}-slim.tar"
    if tarball.is_file():
        return tarball
    _CACHE.mkdir(parents=True, exist_ok=True)
    options = ("--quiet", "--variant=minbase", "--format=tar", f"--keyring={_KEYS}")
    quick = "--dpkgopt=force-unsafe-io"
    with atomic_file(tarball) as descriptor:
        subprocess.run(
            ["mmdebstrap", *options, quick, *_NO_EXTRAS, SUITE, "-", find_mirror()],
            stdout=descriptor,
            timeout=_BUILD_SECONDS,
            check=True,
        )
    return tarball


def _ca_bundle() -> Path:
    found = ssl.get_default_verify_paths().cafile
    assert found is not None, "apt-get install ca-certificates"
    return Path(found)


def _apt_settings() -> str:
    said = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True)
    return "".join(f"{line}\n" for line in _APT_OF_HOST.findall(said.stdout))
