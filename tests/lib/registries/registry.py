"""A real registry on loopback: Debian's docker-registry, with a configuration of its own."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lib.servers.loopback import free_port

_START_SECONDS = 60.0
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class RunningRegistry:
    """A registry that listens on 127.0.0.1; `host` is what references begin with."""

    port: int
    storage: Path

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextlib.contextmanager
def running_registry(
    folder: Path,
    *,
    htpasswd: Path | None = None,
    certificate: tuple[Path, Path] | None = None,
    client_ca: Path | None = None,
    auth: Mapping[str, object] | None = None,
) -> Iterator[RunningRegistry]:
    """Run a registry that keeps its data in `folder`, until the context is left.

    `htpasswd` is a file of bcrypt lines (`htpasswd -B`) that turns basic authentication on;
    `certificate` is (certificate, key) in PEM and turns TLS on, `client_ca` the CA of the clients
    it then serves alone; `auth` is another section `auth` of its configuration.
    """
    config = _config(folder, htpasswd, certificate, client_ca, auth)
    folder.mkdir(parents=True, exist_ok=True)
    for attempt in range(_ATTEMPTS):
        port = free_port()
        process = _start(folder, port, config)
        try:
            if _listens(process, port):
                yield RunningRegistry(port, folder / "storage")
                return
        finally:
            process.terminate()
            process.wait(timeout=_START_SECONDS)
        # Somebody else took the port between asking for it and listening on it.
        if attempt == _ATTEMPTS - 1:
            raise RuntimeError((folder / "registry.log").read_text())


def copy_image(source: str, target: str, *options: str) -> None:
    """Copy an image with skopeo, whose names `source` and `target` are; TLS is not checked."""
    _run("skopeo", "--insecure-policy", "copy", "--quiet", *options, source, target)


def make_layout(folder: Path, *, tag: str = "v1", text: str = "hello\n") -> Path:
    """Make an OCI layout with umoci: one image of one gzip layer that holds one file."""
    _run("umoci", "init", "--layout", str(folder))
    image = f"{folder}:{tag}"
    _run("umoci", "new", "--image", image)
    files = folder.with_name(f"{folder.name}-files")
    files.mkdir()
    (files / "file").write_text(text)
    _run("umoci", "insert", "--rootless", "--image", image, str(files), "/data")
    return folder


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a self-signed certificate for 127.0.0.1; return it and its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    _run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-days", "30", "-subj", "/CN=127.0.0.1"),
        *("-addext", "subjectAltName=IP:127.0.0.1"),
        *("-keyout", str(key), "-out", str(certificate)),
    )
    return certificate, key


def make_htpasswd(path: Path, *, user: str, password: str) -> Path:
    """Make a file of one user for basic authentication."""
    _run("htpasswd", "-Bbc", str(path), user, password)
    return path


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr or done.stdout}")


def _config(
    folder: Path,
    htpasswd: Path | None,
    certificate: tuple[Path, Path] | None,
    client_ca: Path | None,
    auth: Mapping[str, object] | None,
) -> dict[str, Any]:
    http: dict[str, object] = {"secret": "for tests"}
    if certificate is not None:
        tls: dict[str, object] = {"certificate": str(certificate[0]), "key": str(certificate[1])}
        http["tls"] = tls | ({"clientcas": [str(client_ca)]} if client_ca else {})
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}},
        "http": http,
    }
    if auth is not None:
        config["auth"] = auth
    if htpasswd is not None:
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(htpasswd)}}
    return config


def _start(folder: Path, port: int, config: dict[str, Any]) -> subprocess.Popen[bytes]:
    config["http"]["addr"] = f"127.0.0.1:{port}"
    path = folder / "config.yml"
    path.write_text(json.dumps(config))
    program = shutil.which("docker-registry")
    assert program is not None, "apt-get install docker-registry"
    with (folder / "registry.log").open("wb") as log:
        return subprocess.Popen([program, "serve", str(path)], stdout=log, stderr=log)


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return process.poll() is None
        except OSError:
            time.sleep(0.05)
    return False
