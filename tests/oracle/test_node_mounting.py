"""Mounts by the system calls, on real loop devices: the kernel judges."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imager.node.devices import is_in_use
from imager.node.mounting import mount, mounted_at, remount, unmount
from imager.node.provision import make_volume
from imager.support.errors import HostError, UnsupportedError
from imager.support.tools import run_tool
from tests.lib.machines.loop_devices import loop_device, loop_volume
from tests.lib.machines.node import empty_disk
from tests.oracle.test_node_disks import SIZE, mounted, plan_on

pytestmark = [pytest.mark.oracle, pytest.mark.root]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A blank disk."""
    return empty_disk(tmp_path / "disk", SIZE)


def test_mounts_are_made_with_care_and_mended(image: Path, tmp_path: Path) -> None:
    target = tmp_path / "a folder" / "vol\\ume"
    with loop_device(image) as disk:
        made = make_volume(plan_on(disk))
        mount(made.path, target, "ext4", writable=False)
        try:
            assert mounted_at(target) == made.path
            flags = os.statvfs(target).f_flag
            wanted = os.ST_RDONLY | os.ST_NODEV | os.ST_NOSUID | os.ST_NOEXEC
            assert flags & wanted == wanted
            remount(target, writable=True)
            assert os.statvfs(target).f_flag & wanted == wanted & ~os.ST_RDONLY
            with (target / "file").open("w"):
                with pytest.raises(HostError, match="files on it are open for writing"):
                    remount(target, writable=False)
                # In use: it goes from the tree now, and from the device with its last file.
                unmount(target)
                assert mounted_at(target) is None
                assert is_in_use(made)
            assert not is_in_use(made)
        finally:
            if mounted_at(target):
                unmount(target)
        with pytest.raises(HostError, match="nothing is mounted"):
            unmount(target)


def test_why_a_mount_failed_is_told(image: Path, tmp_path: Path) -> None:
    target = tmp_path / "volume"
    with loop_device(image) as disk:
        with pytest.raises(HostError, match="no such file system, or a damaged one"):
            mount(disk, target, "ext4", writable=False)
        with pytest.raises(UnsupportedError, match="this kernel does not support nosuchfs"):
            mount(disk, target, "nosuchfs", writable=False)
        with pytest.raises(HostError, match="there is no such device"):
            mount(Path("/dev/nosuchdisk"), target, "ext4", writable=False)
        run_tool(["mkfs.ext4", "-q", disk], package="e2fsprogs")
    with loop_device(image, read_only=True) as disk:
        with pytest.raises(HostError, match="the device is read-only"):
            mount(disk, target, "ext4", writable=True)
        with mounted(disk, target, writable=False):
            assert (target / "lost+found").is_dir()


def test_a_journal_is_replayed_by_a_read_only_mount(image: Path, tmp_path: Path) -> None:
    with loop_volume(image) as disk:
        run_tool(["mkfs.ext4", "-q", disk], package="e2fsprogs")
        with mounted(disk, tmp_path / "volume") as folder:
            (folder / "file").write_text("written")
            os.sync()
            copy = tmp_path / "copy"
            copy.write_bytes(disk.read_bytes())
    with loop_volume(copy) as disk:
        assert "needs_recovery" in run_tool(["dumpe2fs", "-h", disk], package="e2fsprogs").decode()
        with mounted(disk, tmp_path / "volume", writable=False) as folder:
            assert (folder / "file").read_text() == "written"
