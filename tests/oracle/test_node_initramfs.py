"""The node's initramfs, judged by squashfs-tools, bsdtar, readelf and, as root, by running it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from imager.content.extents import Content
from imager.content.tree import File, Link, Tree
from imager.formats.squashfs import Compression, cached_squashfs_image
from tests.lib.tools.cli import REPOSITORY, environment, real_assets, tool

pytestmark = pytest.mark.oracle
EPOCH = 1_704_067_200
# Makes the part of the initramfs that is of this package, with an empty base.
MAKE = """
import sys
import tempfile
from pathlib import Path
from imager.distro.flavors import _OWN
from imager.distro.initramfs import node_initramfs
from imager.distro.noderoot import own_root
from imager.formats.squashfs import cached_squashfs_image
out = Path(sys.argv[1])
cache = Path(tempfile.mkdtemp(dir=out.parent))
own = cached_squashfs_image(
    own_root(), timestamp=1_704_067_200, compression=_OWN, cache=cache
)
out.write_bytes(node_initramfs(b"busybox", [], (b"base", own), epoch=1_704_067_200))
"""


def make(out: Path, *prefix: str, env: Mapping[str, str] | None = None, umask: int = 0o22) -> bytes:
    argv: list[str | Path] = [*prefix, sys.executable, "-c", MAKE, out]
    subprocess.run(argv, env=environment(env), umask=umask, check=True, timeout=120)
    return out.read_bytes()


def test_two_makes_give_the_same_bytes_whatever_umask_and_clock(tmp_path: Path) -> None:
    first = make(tmp_path / "first")
    changes = {"TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "7"}
    second = make(tmp_path / "second", "faketime", "2031-01-01 00:00:00", env=changes, umask=0o77)
    assert first == second


def test_an_image_is_listed_as_it_was_said(tmp_path: Path) -> None:
    program = File("a/run", Content.of_bytes(b"12345"), mode=0o755)
    packed = cached_squashfs_image(
        Tree.of([program], nodes=[Link("a/link", "run")]),
        timestamp=EPOCH,
        compression=Compression(3, 1 << 17),
        cache=tmp_path,
    )
    image = tmp_path / "image"
    image.write_bytes(packed)
    lines = tool("unsquashfs", "-lln", image).splitlines()
    listed = [" ".join(line.split()) for line in lines if "squashfs-root" in line]
    # What a folder's size is, is the format's own affair.
    assert [re.sub(r"^(d\S+ \S+) \d+", r"\1", line) for line in listed] == [
        "drwxr-xr-x 0/0 2024-01-01 00:00 squashfs-root",
        "drwxr-xr-x 0/0 2024-01-01 00:00 squashfs-root/a",
        "lrwxrwxrwx 0/0 3 2024-01-01 00:00 squashfs-root/a/link -> run",
        "-rwxr-xr-x 0/0 5 2024-01-01 00:00 squashfs-root/a/run",
    ]
    assert "Mon Jan 1 00:00:00 2024" in " ".join(tool("unsquashfs", "-s", image).split())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root file system of the fetched assets, as its two images lie over each other."""
    place = tmp_path_factory.mktemp("node")
    initramfs = real_assets() / "node/amd64/initramfs.xz"
    assert initramfs.is_file(), "run `imager assets fetch --flavor node`"
    # bsdtar reads the first archive: that of the images.
    names = tool("bsdtar", "-tf", initramfs).split()
    assert names == ["root0.squashfs", "root1.squashfs"]
    tool("bsdtar", "-xf", initramfs, "-C", place)
    for name in names:
        tool("unsquashfs", "-quiet", "-no-progress", "-f", "-d", place / "root", place / name)
    return place / "root"


@pytest.mark.parametrize(
    "path",
    [
        "usr/bin/busybox", "usr/bin/containerd", "usr/bin/containerd-shim-runc-v2", "usr/bin/ctr",
        "usr/bin/python3.11", "usr/sbin/e2fsck", "usr/sbin/mkfs.ext4", "usr/sbin/resize2fs",
        "usr/sbin/runc", "usr/lib/node/start", "etc/containerd/config.toml",
    ],
)  # fmt: skip
def test_what_a_node_needs_is_in_it(root: Path, path: str) -> None:
    assert (root / path).is_file()


def test_every_library_that_is_asked_for_is_there(root: Path) -> None:
    """By the loader's rules: in /usr/lib, which /lib and /lib64 are, by its name."""
    judged = 0
    for path in (*root.rglob("*.so*"), *root.glob("usr/bin/*"), *root.glob("usr/sbin/*")):
        if path.is_symlink() or not path.read_bytes().startswith(b"\x7fELF"):
            continue
        text = tool("readelf", "--dynamic", "--program-headers", "--wide", path)
        for name in re.findall(r"\(NEEDED\)\s+Shared library: \[(.+)\]", text):
            judged += 1
            assert (root / "usr/lib" / name).is_file(), f"{path} needs {name}"
        for loader in re.findall(r"program interpreter: (.+)\]", text):
            assert (root / "usr/lib" / Path(loader).name).is_file()
    assert judged > 20


@pytest.mark.root
def test_all_that_a_node_imports_is_there(root: Path) -> None:
    modules = (
        "imager.registry.serve", "imager.cache.open", "imager.node.sync", "imager.cli.app",
        "imager.node.run", "imager.cli.serve", "imager.cli.serve_text", "rich.progress",
        *(f"imager.talos.config.{path.stem}"
          for path in (REPOSITORY / "imager/talos/config").glob("[a-z]*.py")),
    )  # fmt: skip
    (root / "dev").mkdir(exist_ok=True)
    program = f"import {', '.join(modules)}; print('imported')"
    assert tool("chroot", root, "/usr/bin/python3", "-c", program) == "imported\n"


@pytest.mark.root
@pytest.mark.parametrize(
    "argv",
    [
        ("containerd", "--version"), ("ctr", "--version"), ("runc", "--version"),
        ("mkfs.ext4", "-V"), ("e2fsck", "-V"), ("containerd-shim-runc-v2", "-v"),
    ],
)  # fmt: skip
def test_programs_start_in_it(root: Path, argv: tuple[str, ...]) -> None:
    tool("env", "PATH=/usr/bin:/usr/sbin:/bin:/sbin", "chroot", root, *argv)
