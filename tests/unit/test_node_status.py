"""The status of a machine's image cache, as a file: whole, read back, or told to be none."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from imager.cli.node_text import status_table, status_yaml
from imager.node.miss_log import Pulls
from imager.node.status import (
    STATUS_FILE,
    CacheStatus,
    CopyStatus,
    NodeStatus,
    RootStatus,
    is_running,
    only_run,
    read_status,
    write_status,
)
from imager.registry.app import Exchange
from imager.registry.routes import parse_target
from imager.support.errors import HostError, InputError

DISK = RootStatus(
    "/system/imagecache/disk",
    "/dev/vda1",
    "ext4",
    "IMAGECACHE",
    images=3,
    blobs=9,
    size=434_110_464,
)
ISO = RootStatus(
    "/system/imagecache/iso/imagecache", "/dev/sr0", "iso9660", "TALOS_V1_9_0", problem="damaged"
)
STATUS = NodeStatus(
    CacheStatus.READY,
    "",
    CopyStatus.PENDING,
    "it is too small",
    (DISK, ISO),
    "http://127.0.0.1:3172",
    copied=1 << 20,
    to_copy=4 << 20,
    absent=("docker.io/library/absent:v1",),
    damaged=("blob sha256:0 is damaged",),
)


def test_a_status_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_status(tmp_path, STATUS)
    assert read_status(tmp_path) == STATUS
    write_status(tmp_path, NodeStatus())
    assert read_status(tmp_path) == NodeStatus()


def test_the_resource_is_that_of_talos() -> None:
    document = STATUS.document()
    assert document["metadata"]["type"] == "ImageCacheConfigs.cri.talos.dev"
    assert document["metadata"]["id"] == "image-cache"
    spec = document["spec"]
    assert (spec["status"], spec["copyStatus"]) == ("ready", "pending")
    assert spec["roots"] == ["/system/imagecache/disk", "/system/imagecache/iso/imagecache"]


def test_the_names_of_the_states_are_those_of_talos() -> None:
    assert [each.value for each in CacheStatus] == ["unknown", "disabled", "preparing", "ready"]
    assert [each.value for each in CopyStatus] == ["unknown", "skipped", "pending", "ready"]


def test_json_and_yaml_say_the_same() -> None:
    assert STATUS.document() == yaml.safe_load(status_yaml(STATUS))
    assert STATUS.document() == STATUS.document()


def test_a_person_sees_why() -> None:
    text = "\n".join(status_table(STATUS, running=True))
    assert "image cache  ready" in text
    assert "copy         pending, 1 MiB of 4 MiB: it is too small" in text
    assert "served       http://127.0.0.1:3172" in text
    assert "     3      9  414.0 MiB  /dev/vda1  ext4         IMAGECACHE    " in text
    assert "/system/imagecache/iso/imagecache: damaged" in text
    assert "  docker.io/library/absent:v1" in text
    assert "  blob sha256:0 is damaged" in text
    assert "is not running" in "\n".join(status_table(STATUS, running=False))


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"spec": 1}', '{"spec": {"status": "odd"}}', "[" * 10_000]
)
def test_what_is_no_status_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / STATUS_FILE).write_text(text)
    with pytest.raises(InputError, match="is not an image cache status file"):
        read_status(tmp_path)


def test_a_missing_status_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has not been started"):
        read_status(tmp_path)


def test_one_run_holds_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    assert not is_running(folder)
    with only_run(folder):
        assert is_running(folder)
        with pytest.raises(HostError, match="another"), only_run(folder):
            pass
    assert not is_running(folder)
    with only_run(folder):
        pass


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="cannot create"), only_run(tmp_path / "file/state"):
        pass


def asked(target: str, status: int, problem: str = "") -> Exchange:
    path, _, query = target.partition("?")
    route = parse_target(path, query)
    return Exchange("127.0.0.1", "HEAD", target, "containerd", route, status, problem=problem)


def test_what_was_asked_for_in_vain_is_kept_until_it_is_there() -> None:
    pulls = Pulls()
    path = "/v2/library/nginx/manifests/1.27?ns=docker.io"
    for _ in range(3):
        pulls.note(asked(path, 404))
    by_digest = f"/v2/a/b/manifests/sha256:{'0' * 64}"
    pulls.note(asked(by_digest, 404))
    pulls.note(asked("/v2/a/b/manifests/there?ns=docker.io", 200))
    assert list(pulls.absent) == ["docker.io/library/nginx:1.27", f"a/b@sha256:{'0' * 64}"]
    pulls.note(asked(path, 200))
    assert list(pulls.absent) == [f"a/b@sha256:{'0' * 64}"]


def test_damaged_blobs_are_kept_until_they_are_sound() -> None:
    pulls = Pulls()
    blob = f"/v2/a/b/blobs/sha256:{'0' * 64}"
    pulls.note(asked(blob, 404, "blob is damaged in the disk"))
    assert list(pulls.damaged) == ["blob is damaged in the disk"]
    pulls.note(asked(blob, 206))
    assert not list(pulls.damaged)


def test_clients_cannot_fill_the_memory() -> None:
    pulls = Pulls()
    for number in range(1000):
        pulls.note(asked(f"/v2/a/manifests/t{number}?ns=docker.io", 404))
        pulls.note(asked(f"/v2/a/manifests/t{number}?ns={'n' * 7000}", 404))
        pulls.note(asked(f"/garbage/{number}", 404))
    assert len(pulls.absent) == 100
    assert set(pulls.absent) == {f"docker.io/a:t{number}" for number in range(900, 1000)}
    pulls.note(asked("/v2/a/manifests/last", 404))
    assert pulls.absent[-1] == "a:last"
