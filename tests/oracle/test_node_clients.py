"""What others see of `imager node run`: containerd pulls through it, systemd is told when."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.lib.caches.caches import make_flat, sha256
from tests.lib.caches.pullable import PullableCache
from tests.lib.machines.loop_devices import loop_device
from tests.lib.machines.node import NodePlace, build_image, empty_disk, machine_config, node_running
from tests.lib.tools.cli import MIB
from tests.lib.tools.containerd import CRI_NAMESPACE, Containerd, PullError

pytestmark = pytest.mark.root


def test_containerd_pulls_by_tag_and_digest_with_no_network(
    pullable: PullableCache, network: tuple[str, ...], containerd: Containerd, tmp_path: Path
) -> None:
    iso = build_image("iso", pullable.folder, tmp_path / "build")
    place = NodePlace(tmp_path, containerd.hosts)
    image = empty_disk(tmp_path / "disk", 200 * MIB)
    with loop_device(image) as disk:
        place.config.write_text(machine_config(disk=disk))
        with (
            loop_device(iso, read_only=True) as medium,
            node_running(place, disk, medium, prefix=network) as node,
        ):
            # The first pulls may come while it is copied.
            node.wait_for(lambda spec: spec["status"] == "ready")
            for number, image_ in enumerate(pullable.images):
                for reference in image_.references:
                    containerd.pull(f"iso{number}", reference)
                assert containerd.stored(f"iso{number}") == image_.contents
            node.settled("ready", "ready")
        # Without the ISO, and as kubelet pulls.
        with node_running(place, disk, prefix=network) as node:
            node.settled("ready", "skipped")
            for image_ in pullable.images:
                for reference in image_.references:
                    containerd.cri_pull(reference)
            digests = set(containerd.stored(CRI_NAMESPACE))
            assert digests == {key for image_ in pullable.images for key in image_.contents}
            with pytest.raises(PullError):
                containerd.pull("absent", "docker.io/library/absent:v1")
            spec = node.wait_for(lambda spec: spec["absent"])
            assert spec["absent"] == ["docker.io/library/absent:v1"]
            said = place.doctor(disk)
            assert "docker.io/library/absent:v1 was requested, but no cache has it" in said


def test_systemd_is_told_when_the_copy_is_done_and_not_before(tmp_path: Path) -> None:
    large = make_flat(tmp_path / "large", images=2, blob_size=20 * MIB)
    iso = build_image("iso", large.folder, tmp_path / "build")
    place = NodePlace(tmp_path, tmp_path / "certs.d")
    image = empty_disk(tmp_path / "disk", 500 * MIB)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(60)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        with loop_device(image) as disk, loop_device(iso, read_only=True) as medium:
            place.config.write_text(machine_config(disk=disk, max_size="400MiB"))
            with node_running(place, disk, medium, env=env):
                while "READY=1" not in channel.recv(4096).decode():
                    pass
                assert place.status()["copyStatus"] == "ready"
                found = {sha256(path.read_bytes()) for path in (place.disk / "blob").iterdir()}
                assert {path.name.removeprefix("sha256-") for path in large.blobs} <= found


@pytest.mark.parametrize("config", ["machine: {type: worker}\n", machine_config()])
def test_systemd_does_not_wait_for_a_cache_that_will_not_come(tmp_path: Path, config: str) -> None:
    place = NodePlace(tmp_path, tmp_path / "certs.d")
    place.config.write_text(config)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(60)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        with node_running(place, Path("/dev/no-disk"), wait=1, env=env):
            while "READY=1" not in channel.recv(4096).decode():
                pass
            assert place.status()["status"] == "disabled"
