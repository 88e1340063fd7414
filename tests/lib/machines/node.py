"""`imager node run` as a process with loop devices as its disks, for tests that run as root."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from tests.lib.registries.serving import TIMEOUT, stop
from tests.lib.tools.cli import IMAGER, build, environment, run, synthetic_assets


@dataclass(frozen=True, slots=True)
class NodePlace:
    """Where a node keeps what: a folder of the test's own; `hosts` is containerd's."""

    folder: Path
    hosts: Path

    @property
    def config(self) -> Path:
        return self.folder / "machine.yaml"

    @property
    def mounts(self) -> Path:
        return self.folder / "imagecache"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def disk(self) -> Path:
        """The root of the disk's cache."""
        return self.mounts / "disk"

    def medium_root(self, device: Path) -> Path:
        """Return the root of the first medium's cache, an ISO on `device`.

        It is the device itself where the kernel does not know the file system.
        """
        known = "iso9660" in Path("/proc/filesystems").read_text().split()
        return self.mounts / "iso" / "imagecache" if known else device

    def status(self) -> dict[str, Any]:
        """Return what `imager node status` prints of the resource's spec."""
        done = run("node", "status", "--state", self.state, "-o", "json")
        assert done.returncode == 0, done.stderr
        spec: dict[str, Any] = json.loads(done.stdout)["spec"]
        return spec

    def doctor(self, *disks: Path) -> str:
        """Return what the doctor says, which must fit its exit code."""
        options = [word for disk in disks for word in ("--disk", disk)]
        config = self.folder / "containerd.toml"
        if not config.exists():
            config.write_text(f'config_path = "{self.hosts}"\n')
        places = ("--state", self.state, "--hosts-dir", self.hosts, "--containerd-config", config)
        done = run("node", "doctor", "--config", self.config, *places, *options)
        assert done.returncode == (0 if "no problems found" in done.stdout else 1), done.stderr
        return done.stdout


@dataclass(frozen=True, slots=True)
class RunningNode:
    """A run of `imager node run`; `log` has what it says, in JSON lines."""

    place: NodePlace
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def spec(self) -> dict[str, Any]:
        """The status, read from its file."""
        text = (self.place.state / "image-cache.json").read_text()
        spec: dict[str, Any] = json.loads(text)["spec"]
        return spec

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    @property
    def steps(self) -> list[str]:
        """What it says that it does."""
        return [event["text"] for event in self.events if event["event"] == "step"]

    def wait_for(self, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until `what` is true of the status, and return it."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            with contextlib.suppress(FileNotFoundError):
                if what(spec := self.spec):
                    return spec
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def settled(self, status: str, copy_status: str) -> dict[str, Any]:
        """Wait until cache and copy have these states, and return the status."""
        return self.wait_for(
            lambda spec: (spec["status"], spec["copyStatus"]) == (status, copy_status)
        )

    def answered(self, path: str, status: int) -> urllib3.BaseHTTPResponse:
        """Ask until the answer has this status: what is served follows the status file."""
        deadline = time.monotonic() + TIMEOUT
        while (answer := self.ask(path)).status != status:
            assert time.monotonic() < deadline, answer.status
            time.sleep(0.05)
        return answer

    def ask(self, path: str, method: str = "GET") -> urllib3.BaseHTTPResponse:
        """Send a request to the node's registry and return the answer, read."""
        with urllib3.PoolManager(retries=False, timeout=TIMEOUT) as pool:
            return pool.request(method, self.spec["url"] + path)


@contextlib.contextmanager
def node_running(
    place: NodePlace,
    *disks: Path,
    wait: float = 5,
    env: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> Iterator[RunningNode]:
    """Run `imager node run` on `disks` while the block lasts; end it by SIGTERM."""
    log = place.folder / "log"
    (place.state / "image-cache.json").unlink(missing_ok=True)
    options: list[str | Path] = [word for disk in disks for word in ("--disk", disk)]
    options += ["--state", place.state, "--mounts", place.mounts, "--hosts-dir", place.hosts]
    options += ["--address", "127.0.0.1:0", "--wait", str(wait), "--progress", "json"]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*prefix, *IMAGER, "node", "run", "--config", place.config, *options],
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
    try:
        yield RunningNode(place, process, log)
    finally:
        stop(process)


def machine_config(
    *,
    enabled: bool = True,
    disk: Path | None = None,
    match: str = "",
    min_size: str = "32MiB",
    max_size: str = "64MiB",
    grow: bool = False,
) -> str:
    """Return a machine configuration; on `disk`, or where `match` is true, a volume is made."""
    text = f"machine:\n  features:\n    imageCache:\n      localEnabled: {str(enabled).lower()}\n"
    match = match or (f"disk.dev_path == '{disk}'" if disk else "")
    if not match:
        return text
    return (
        f"{text}---\napiVersion: v1alpha1\nkind: VolumeConfig\nname: IMAGECACHE\nprovisioning:\n"
        f"  diskSelector:\n    match: {match}\n"
        f"  minSize: {min_size}\n  maxSize: {max_size}\n  grow: {str(grow).lower()}\n"
    )


def build_image(kind: str, cache: Path, folder: Path, *options: str) -> Path:
    """Build `iso` or `metal` with a cache and with boot assets that do not boot, quickly."""
    folder.mkdir(parents=True, exist_ok=True)
    assets = folder / "assets"
    if not assets.exists():
        synthetic_assets(assets)
    result = build(
        kind,
        "--assets",
        str(assets),
        "--image-cache",
        cache,
        "--output",
        folder,
        "--out-format",
        "raw",
        *options,
    )
    return Path(result["output"])


def empty_disk(path: Path, size: int) -> Path:
    """Make a file of zeros, `size` bytes large."""
    with path.open("wb") as file:
        file.truncate(size)
    return path
