"""Debian's containerd, started by hand: folders and sockets of its own, no other network."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc

from tests.lib.tools.cli import tool

CRI_NAMESPACE = "k8s.io"
_TIMEOUT = 60
_SNAPSHOTTER = "native"
_IMAGE_SERVICE = "/runtime.v1.ImageService"
# All that would need a file system or a folder of the machine.
_DISABLED = (
    *(f"io.containerd.snapshotter.v1.{name}" for name in ("aufs", "btrfs", "devmapper", "zfs")),
    "io.containerd.snapshotter.v1.overlayfs",
)


class PullError(Exception):
    """containerd could not pull an image."""


@dataclass(frozen=True, slots=True)
class Containerd:
    """A running containerd; `hosts` is its folder of registry hosts, empty at first.

    No namespace sees what another has pulled.
    """

    folder: Path
    prefix: tuple[str, ...]

    @property
    def hosts(self) -> Path:
        return self.folder / "certs.d"

    @property
    def socket(self) -> Path:
        return self.folder / "containerd.sock"

    def ctr(self, namespace: str, *args: str | Path) -> str:
        """Run ctr in its network, as it speaks to registries itself; return what it says."""
        command = ("ctr", "--address", self.socket, "--namespace", namespace)
        return tool(*self.prefix, *command, *args)

    def pull(self, namespace: str, reference: str) -> None:
        """Pull an image by ctr; raises PullError."""
        done = subprocess.run(
            [*self.prefix, "ctr", "--address", self.socket, "--namespace", namespace,
             "images", "pull", "--snapshotter", _SNAPSHOTTER, "--hosts-dir", self.hosts, reference],
            capture_output=True, text=True, timeout=_TIMEOUT, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise PullError(done.stderr)

    def cri_pull(self, reference: str) -> str:
        """Pull an image as kubelet does; return the ID that it gets. Raises PullError.

        PullImage of https://github.com/kubernetes/cri-api/blob/master/pkg/apis/runtime/v1/api.proto.
        """
        spec = _field(1, reference.encode())
        with grpc.insecure_channel(f"unix://{self.socket}") as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                f"{_IMAGE_SERVICE}/PullImage"
            )
            try:
                answer = call(_field(1, spec), timeout=_TIMEOUT, wait_for_ready=True)
            except grpc.RpcError as error:
                raise PullError(str(error)) from error
        assert answer[0] == 1 << 3 | 2
        assert answer[1] == len(answer) - 2
        return answer[2:].decode()

    def images(self, namespace: str) -> dict[str, str]:
        """Return the digest of every image, by its name."""
        lines = self.ctr(namespace, "images", "ls").splitlines()[1:]
        return {line.split()[0]: line.split()[2] for line in lines}

    def stored(self, namespace: str) -> dict[str, bytes]:
        """Return all content, by its digest, as containerd gives it."""
        digests = self.ctr(namespace, "content", "ls", "--quiet").split()
        return {digest: self._content(namespace, digest) for digest in digests}

    def forget(self, namespace: str) -> None:
        """Remove all images, and wait until their content is gone."""
        names = self.ctr(namespace, "images", "ls", "--quiet").split()
        if names:
            self.ctr(namespace, "images", "rm", "--sync", *names)
        assert self.stored(namespace) == {}

    def _content(self, namespace: str, digest: str) -> bytes:
        return subprocess.run(
            ["ctr", "--address", self.socket, "--namespace", namespace, "content", "get", digest],
            capture_output=True, timeout=_TIMEOUT, check=True,
        ).stdout  # fmt: skip


def _field(number: int, data: bytes) -> bytes:
    """Return a field of bytes in protobuf's encoding, shorter than 16 KiB."""
    size = len(data)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([number << 3 | 2]) + length + data


@contextlib.contextmanager
def running_containerd(prefix: tuple[str, ...]) -> Iterator[Containerd]:
    """Run containerd, started by way of `prefix`, until the context is left."""
    # The path of a socket has to be short.
    folder = Path(tempfile.mkdtemp(prefix="containerd-"))
    try:
        containerd = Containerd(folder, prefix)
        containerd.hosts.mkdir()
        (folder / "config.toml").write_text(_config(containerd))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*prefix, _program(), "--config", folder / "config.toml"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            _wait(containerd, process)
            yield containerd
        finally:
            process.terminate()
            try:
                process.wait(timeout=_TIMEOUT)
            finally:
                process.kill()
    finally:
        shutil.rmtree(folder)


def _program() -> str:
    program = shutil.which("containerd")
    assert program is not None, "apt-get install containerd"
    return program


def _config(containerd: Containerd) -> str:
    folder, cri = containerd.folder, "io.containerd.grpc.v1.cri"
    # JSON's lists and strings of plain characters are TOML's.
    sections: dict[str, dict[str, object]] = {
        "grpc": {"address": str(containerd.socket)},
        'plugins."io.containerd.internal.v1.opt"': {"path": str(folder / "opt")},
        'plugins."io.containerd.metadata.v1.bolt"': {"content_sharing_policy": "isolated"},
        f'plugins."{cri}"': {"stream_server_port": "0"},
        f'plugins."{cri}".containerd': {"snapshotter": _SNAPSHOTTER},
        f'plugins."{cri}".registry': {"config_path": str(containerd.hosts)},
    }
    top = {
        "version": 2,
        "root": str(folder / "root"),
        "state": str(folder / "state"),
        "disabled_plugins": _DISABLED,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in top.items()]
    for name, values in sections.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines)


def _wait(containerd: Containerd, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _TIMEOUT
    log = containerd.folder / "log"
    while "containerd successfully booted" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
